"""A client deletes the message that a run is writing: the stream tells it to its end, and the row stays deleted."""

import asyncio
from typing import Any

import pytest

from support import lasting
from support.client import Event
from support.model_server import Call, ErrorChunk, Reply, ScriptedModel, Silence
from support.readable import check_readable
from support.sdk import accumulated
from support.talk import WEATHER, Talk

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()

# How the run goes on behind its first word, and what its message and step become.
ENDINGS: dict[str, tuple[Reply, list[str]]] = {
    "completed": (Reply(" upon."), ["thread.message.completed", "thread.run.step.completed"]),
    "incomplete": (Reply(" upon.", finish="length"), ["thread.message.incomplete", "thread.run.step.completed"]),
    "failed": (Reply(ErrorChunk()), ["thread.message.incomplete", "thread.run.step.failed"]),
    "cancelled": (Reply(Silence()), ["thread.message.incomplete", "thread.run.step.cancelled"]),
}


async def speaking(talk: Talk, model: ScriptedModel, then: Reply) -> tuple[asyncio.Task[list[Event]], asyncio.Event]:
    """A stream whose message has begun, and been deleted; it goes on when the event is set."""
    gate = asyncio.Event()
    model.script(Reply("Once", Silence(gate), *then.parts, finish=then.finish))
    streaming = asyncio.create_task(talk.stream())
    message = await talk.until_it_speaks()
    await talk.client.delete(f"{talk.path}/messages/{message['id']}")
    return streaming, gate


def check_told(events: list[Event]) -> dict[str, Any]:
    """The message as its last event shows it, which is what its deltas add up to."""
    check_readable([(event.name, event.data) for event in events[:-1]])
    told = [event for event in events if event.name.startswith("thread.message.")]
    deltas = [event.data["delta"] for event in told if event.name == "thread.message.delta"]
    message: dict[str, Any] = told[-1].data
    (part,) = accumulated(deltas)["content"]  # type: ignore[misc]
    assert part["text"]["value"] == message["content"][0]["text"]["value"]
    return message


@pytest.mark.parametrize("status", ENDINGS)
async def test_the_stream_ends_the_message_and_the_thread_does_not_have_it(
    talk: Talk, model: ScriptedModel, status: str
) -> None:
    then, ends = ENDINGS[status]
    streaming, gate = await speaking(talk, model, then)
    run = await talk.newest_run()
    if status == "cancelled":
        await talk.cancel(run)
    gate.set()
    events = await streaming
    assert [event.name for event in events[-4:]] == [*ends, f"thread.run.{status}", "done"]
    message = check_told(events)
    assert [one["role"] for one in await talk.messages()] == ["user"]
    gone = await talk.client.request("GET", f"{talk.path}/messages/{message['id']}")
    assert gone.status == 404
    (step,) = await talk.steps(run)
    assert step["step_details"] == {"type": "message_creation", "message_creation": {"message_id": message["id"]}}


async def test_calls_behind_a_deleted_text_are_a_step_of_their_own(talk: Talk, model: ScriptedModel) -> None:
    streaming, gate = await speaking(talk, model, Reply(Call("call_a", "weather", "{}")))
    gate.set()
    events = await streaming
    check_told(events)
    run = events[-2].data
    assert run["status"] == "requires_action"
    await talk.cancel(run)
    assert [step["type"] for step in await talk.steps(run)] == ["message_creation", "tool_calls"]
    assert [one["role"] for one in await talk.messages()] == ["user"]


@pytest.fixture
async def talk(server: Any) -> Talk:
    return await Talk.begin(server.client, tools=[WEATHER])
