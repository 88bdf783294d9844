"""Cancelling: within a second from every state, also while the model server says nothing (contract section 3.4)."""

import asyncio
from typing import Any

import pytest

from support import lasting
from support.client import Client, Event
from support.model_server import Call, Failure, Reply, ScriptedModel, Silence, Usage
from support.server import running_server
from support.talk import WEATHER, Talk, polled

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()

SECONDS = 1.0


async def cancelled(talk: Talk, run: dict[str, Any]) -> dict[str, Any]:
    """The run after its cancel, which must take effect at once."""
    asked = await talk.cancel(run)
    assert (asked["status"], asked["cancelled_at"], asked["usage"]) == ("cancelling", None, None)
    assert asked["required_action"] is None
    ended = await talk.until(run, "cancelled", seconds=SECONDS)
    assert ended["cancelled_at"] >= ended["created_at"]
    assert ended["usage"] is not None
    assert (ended["completed_at"], ended["failed_at"], ended["last_error"]) == (None, None, None)
    return ended


async def goes_on(talk: Talk, model: ScriptedModel) -> list[dict[str, Any]]:
    """The thread is free again, and its next run sends nothing that a strict server refuses: its messages."""
    asked = len(model.chats)
    await talk.client.post(f"{talk.path}/messages", {"role": "user", "content": "Go on."})
    model.script(Reply("Well."))
    await talk.until(await talk.run(), "completed")
    model.check()
    assert len(model.chats) == asked + 1
    messages: list[dict[str, Any]] = model.chats[-1].body["messages"]
    return messages


@pytest.mark.parametrize("before_headers", [True, False])
async def test_while_the_model_server_is_silent(talk: Talk, model: ScriptedModel, before_headers: bool) -> None:
    model.script(Reply(Silence(before_headers=before_headers)))
    run = await talk.run()
    await model.until(lambda: bool(model.chats))
    ended = await cancelled(talk, run)
    await model.until(lambda: model.disconnects == 1, seconds=SECONDS)
    assert ended["usage"]["total_tokens"] == 0
    assert await talk.steps(run) == []
    assert [one["role"] for one in await talk.messages()] == ["user"]
    assert await goes_on(talk, model)


async def test_in_the_middle_of_a_text(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("Once upon", Silence()))
    streaming = asyncio.create_task(talk.stream())
    await talk.until_it_speaks()
    run = await talk.newest_run()
    await cancelled(talk, run)
    await model.until(lambda: model.disconnects == 1, seconds=SECONDS)
    message = (await talk.messages())[-1]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_cancelled"})
    assert message["content"][0]["text"]["value"] == "Once upon"
    (step,) = await talk.steps(run)
    assert (step["status"], step["cancelled_at"] is not None) == ("cancelled", True)
    assert ending(await streaming) == [
        "thread.run.cancelling",
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
        "done",
    ]
    assert {"role": "assistant", "content": "Once upon"} in await goes_on(talk, model)


async def test_in_the_middle_of_a_call(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", '{"city":'), Silence()))
    streaming = asyncio.create_task(talk.stream())
    run = await talk.newest_run()
    await polled(lambda: begun_steps(talk, run))
    await cancelled(talk, run)
    await model.until(lambda: model.disconnects == 1, seconds=SECONDS)
    (step,) = await talk.steps(run)
    assert (step["status"], step["type"]) == ("cancelled", "tool_calls")
    assert ending(await streaming) == [
        "thread.run.cancelling",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
        "done",
    ]
    assert "tool_calls" not in str(await goes_on(talk, model))


async def test_while_it_waits_for_tool_outputs(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}"), usage=Usage(7, 3)))
    run = await talk.run()
    await talk.until(run, "requires_action")
    ended = await cancelled(talk, run)
    assert ended["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    (step,) = await talk.steps(run)
    assert (step["status"], step["usage"]) == ("cancelled", ended["usage"])
    late = await client.request(
        "POST",
        f"{talk.path}/runs/{run['id']}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": "call_a", "output": "Rain"}]},
    )
    assert late.error["message"] == 'Runs in status "cancelled" do not accept tool outputs.'
    assert "tool" not in {one["role"] for one in await goes_on(talk, model)}


async def test_in_the_second_turn(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}"), usage=Usage(7, 3)), Reply("Wet", Silence()))
    run = await talk.run()
    await talk.until(run, "requires_action")
    await talk.submit(run, call_a="Rain")
    await talk.until_it_speaks()
    ended = await cancelled(talk, run)
    assert ended["usage"]["total_tokens"] == 10
    assert [step["status"] for step in await talk.steps(run)] == ["completed", "cancelled"]
    assert await goes_on(talk, model)


async def test_while_it_pauses_before_it_asks_a_busy_model_server_again(talk: Talk, model: ScriptedModel) -> None:
    model.script(Failure(503, retry_after=15))
    run = await talk.run()
    await model.until(lambda: len(model.chats) == 1)
    await talk.until(run, "in_progress")
    await cancelled(talk, run)
    assert len(model.chats) == 1
    assert await goes_on(talk, model)


async def test_while_nobody_works_on_it(model: ScriptedModel, tmp_path: Any) -> None:
    async with running_server(model, tmp_path, worker=False) as idle:
        talk = await Talk.begin(idle.client)
        run = await talk.run()
        await cancelled(talk, run)
        again = await idle.client.request("POST", f"{talk.path}/runs/{run['id']}/cancel")
        assert (again.status, again.error["message"]) == (400, "Cannot cancel run with status 'cancelled'.")
    assert model.chats == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Reply("Four."), "completed"),
        (Reply("Four.", finish="none"), "failed"),
        (Reply("Four.", finish="length"), "incomplete"),
    ],
)
async def test_an_ended_run_cannot_be_cancelled(talk: Talk, model: ScriptedModel, answer: Any, status: str) -> None:
    model.script(answer)
    run = await talk.run()
    before = await talk.until(run, status)
    refused = await talk.client.request("POST", f"{talk.path}/runs/{run['id']}/cancel")
    assert (refused.status, refused.error["message"], refused.error["param"], refused.error["code"]) == (
        400,
        f"Cannot cancel run with status '{status}'.",
        None,
        None,
    )
    assert await talk.get(run) == before


async def test_of_ten_cancels_at_once_one_is_taken(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("Once", Silence()))
    run = await talk.run()
    await talk.until_it_speaks()
    path = f"{talk.path}/runs/{run['id']}/cancel"
    answers = await asyncio.gather(*(talk.client.request("POST", path) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 9
    refusals = {answer.error["message"] for answer in answers if answer.status == 400}
    assert refusals <= {f"Cannot cancel run with status '{status}'." for status in ("cancelling", "cancelled")}
    await talk.until(run, "cancelled", seconds=SECONDS)


def ending(events: list[Event]) -> list[str]:
    """The stream from `cancelling` on, without deltas that were still on their way."""
    names = [event.name for event in events if not event.name.endswith(".delta")]
    return names[names.index("thread.run.cancelling") :]


async def begun_steps(talk: Talk, run: dict[str, Any]) -> list[dict[str, Any]] | None:
    return await talk.steps(run) or None
