"""Whatever a model server does wrong, the run ends as failed and says why, streamed and polled alike."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from support import lasting
from support.client import Client, Event
from support.model_server import (
    Answer,
    Call,
    Cut,
    ErrorChunk,
    Failure,
    Garbage,
    RawChunk,
    Received,
    Refuse,
    Reply,
    ScriptedModel,
    Silence,
)
from support.server import RunningServer, running_server
from support.talk import WEATHER, Talk
from understudy.core.limits import UPSTREAM_ATTEMPTS_MAX

lasting_model, model = lasting.lasting_model, lasting.model
server = lasting.server(upstream_silence_seconds=0.3, upstream_connect_seconds=0.2)


@dataclass(frozen=True)
class Fault:
    """What the model server answers, and what the run says of it. `said` is the text that had arrived."""

    answer: Answer
    message: str
    code: str = "server_error"
    said: str | None = None
    asked: int = 1


POLICY = Failure(400, "Not this.", type="invalid_request_error", code="content_policy_violation")
UNFINISHED = "ended without a finish reason"
NO_CALLS = "announced tool calls and sent none"
BUSY = UPSTREAM_ATTEMPTS_MAX

FAULTS = {
    "cut before a word": Fault(Reply(Cut()), "cut off"),
    "cut in text": Fault(Reply("Half", Cut()), "cut off", said="Half"),
    "cut in a refusal": Fault(Reply(Refuse("I can"), Cut()), "cut off", said="I can"),
    "garbage at once": Fault(Reply(Garbage()), "no chat completion chunk"),
    "garbage in text": Fault(Reply("Half", Garbage()), "no chat completion chunk", said="Half"),
    "garbage before done": Fault(Reply("Half", Garbage("{"), finish="stop"), "no chat completion chunk", said="Half"),
    "an error chunk": Fault(Reply("Half", ErrorChunk("It broke.")), "It broke.", said="Half"),
    "a busy chunk": Fault(
        Reply(ErrorChunk("Slow down.", code="rate_limit_exceeded")), "Slow down.", code="rate_limit_exceeded"
    ),
    "no finish reason": Fault(Reply("Half", finish="none"), UNFINISHED, said="Half"),
    "no finish reason, no done": Fault(Reply("Half", finish="none", done=False), UNFINISHED, said="Half"),
    "nothing at all": Fault(Reply(finish="none"), UNFINISHED),
    "error as its finish": Fault(
        Reply("Half", RawChunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}), finish="none"),
        "",
        said="Half",
    ),
    "silence before headers": Fault(Reply(Silence(before_headers=True)), "sent nothing for 0.3 seconds"),
    "silence before a word": Fault(Reply(Silence()), "sent nothing for 0.3 seconds"),
    "silence in text": Fault(Reply("Half", Silence()), "sent nothing for 0.3 seconds", said="Half"),
    "400": Fault(Failure(400, "No such thing.", type="invalid_request_error"), "status 400: No such thing."),
    "400 by policy": Fault(POLICY, "status 400: Not this.", code="invalid_prompt"),
    "401": Fault(Failure(401, "Who are you?"), "refused the configured API key"),
    "404": Fault(Failure(404, "No model m."), "status 404: No model m."),
    "429": Fault(Failure(429, "Slow down."), "status 429: Slow down.", code="rate_limit_exceeded", asked=BUSY),
    "429 for good": Fault(
        Failure(429, "Pay first.", code="insufficient_quota"), "Pay first.", code="rate_limit_exceeded"
    ),
    "500": Fault(Failure(500, "Oh no."), "status 500: Oh no.", asked=BUSY),
    "503": Fault(Failure(503, body="<html>Away</html>"), "status 503", asked=BUSY),
    "announced calls": Fault(Reply(finish="tool_calls"), NO_CALLS),
    "announced calls behind text": Fault(Reply("I look.", finish="tool_calls"), NO_CALLS, said="I look."),
    "a page of HTML": Fault(Failure(200, body="<html>Hello</html>"), "unexpected form"),
}


@dataclass
class Scene:
    """A run that failed, watched by its stream, and another one that was polled."""

    talk: Talk
    events: list[Event]
    run: dict[str, Any]
    polled: dict[str, Any]
    asked: int


@pytest.fixture(scope="module")
async def scenes(server: RunningServer, lasting_model: ScriptedModel) -> dict[str, Scene]:
    """Two runs of each kind: they are waited for together, since some take their time."""
    for name, fault in FAULTS.items():
        lasting_model.rule(lambda asked, name=name: was_asked(asked, name), fault.answer)  # type: ignore[misc]
    played = await asyncio.gather(*(play(server.client, lasting_model, name) for name in FAULTS))
    return dict(zip(FAULTS, played, strict=True))


def was_asked(asked: Received, name: str) -> bool:
    return bool(asked.body["messages"][0]["content"] == name)


async def play(client: Client, model: ScriptedModel, name: str) -> Scene:
    talk = await Talk.begin(client, content=name, tools=[WEATHER])
    events = await talk.stream()
    asked = len([chat for chat in model.chats if was_asked(chat, name)])
    polled = await (again := await Talk.begin(client, content=name)).until(
        await again.run(), "failed", "completed", "incomplete"
    )
    return Scene(talk, events, await talk.newest_run(), polled, asked)


@pytest.mark.parametrize("name", FAULTS)
async def test_the_run_fails_and_says_why(scenes: dict[str, Scene], name: str) -> None:
    fault, scene = FAULTS[name], scenes[name]
    assert [scene.run["status"], scene.polled["status"]] == ["failed", "failed"]
    assert scene.run["last_error"]["code"] == fault.code
    assert fault.message in scene.run["last_error"]["message"]
    assert scene.polled["last_error"] == scene.run["last_error"]
    assert scene.run["failed_at"] is not None
    empty = ("completed_at", "cancelled_at", "required_action", "incomplete_details")
    assert [scene.run[key] for key in empty] == [None] * len(empty)
    assert scene.run["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("name", FAULTS)
async def test_the_stream_ends_with_the_failure_and_what_was_said_is_kept(scenes: dict[str, Scene], name: str) -> None:
    fault, scene = FAULTS[name], scenes[name]
    names = [event.name for event in scene.events]
    steps, messages = await scene.talk.steps(scene.run), (await scene.talk.messages())[1:]
    if fault.said is None:
        assert names[2:] == ["thread.run.in_progress", "thread.run.failed", "done"]
        assert (steps, messages) == ([], [])
        return
    assert names[-4:] == ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"]
    (step,), (message,) = steps, messages
    assert (step["status"], step["last_error"]["message"]) == ("failed", scene.run["last_error"]["message"])
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_failed"})
    part = message["content"][0]
    assert (part.get("refusal") or part["text"]["value"]) == fault.said
    assert scene.events[-2].data == scene.run


@pytest.mark.parametrize("name", FAULTS)
async def test_only_a_busy_or_absent_model_server_is_asked_again_and_only_before_the_first_word(
    scenes: dict[str, Scene], name: str
) -> None:
    assert scenes[name].asked == FAULTS[name].asked


async def test_no_message_gives_the_model_servers_address_away(
    scenes: dict[str, Scene], lasting_model: ScriptedModel
) -> None:
    address = lasting_model.base_url.removeprefix("http://").removesuffix("/v1")
    for scene in scenes.values():
        assert address not in scene.run["last_error"]["message"]
        assert "127.0.0.1" not in scene.run["last_error"]["message"]


@pytest.mark.parametrize("status", [503, 429, 500])
async def test_a_busy_model_server_that_recovers_is_no_failure(talk: Talk, model: ScriptedModel, status: int) -> None:
    model.script(Failure(status), Reply("Here I am."))
    run = await talk.until(await talk.run(), "completed", "failed")
    assert run["status"] == "completed"
    assert len(model.chats) == 2
    assert model.chats[0].body == model.chats[1].body


async def test_a_failure_in_the_second_turn_keeps_what_the_first_one_cost(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")), Reply("We", Cut()))
    run = await talk.run()
    await talk.until(run, "requires_action")
    await talk.submit(run, call_a="Rain")
    ended = await talk.until(run, "failed")
    assert ended["usage"]["total_tokens"] == 30
    assert [step["status"] for step in await talk.steps(run)] == ["completed", "failed"]
    assert sum(step["usage"]["total_tokens"] for step in await talk.steps(run)) == 30


async def test_a_call_that_is_cut_off_is_not_asked_for(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", '{"ci'), Cut()))
    run = await talk.run()
    ended = await talk.until(run, "failed", "requires_action")
    assert (ended["status"], ended["required_action"]) == ("failed", None)
    (step,) = await talk.steps(run)
    assert step["status"] == "failed"
    assert step["step_details"]["tool_calls"][0]["function"]["arguments"] == '{"ci'


async def test_a_thread_goes_on_after_a_failure(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("Half", Cut()), Reply("Whole."))
    await talk.until(await talk.run(), "failed")
    await talk.client.post(f"{talk.path}/messages", {"role": "user", "content": "Again."})
    await talk.until(await talk.run(), "completed")
    assert [message["content"] for message in model.chats[1].body["messages"]] == ["What is 2+2?", "Half", "Again."]


@pytest.fixture
async def alone(tmp_path: Any) -> AsyncIterator[RunningServer]:
    """A server whose model server is not there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with running_server(None, tmp_path, upstream_base_url=f"http://127.0.0.1:{port}/v1") as running:
        yield running


async def test_a_refused_connection(alone: RunningServer) -> None:
    talk = await Talk.begin(alone.client)
    events = await talk.stream()
    assert [event.name for event in events][2:] == ["thread.run.in_progress", "thread.run.failed", "done"]
    error = events[-2].data["last_error"]
    assert error == {"code": "server_error", "message": "The model server cannot be reached: connection refused."}
