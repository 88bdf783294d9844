"""A run that has not ended when its time is over expires, whatever it was doing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from support import lasting
from support.client import Client, Event
from support.model_server import Call, Failure, Reply, ScriptedModel, Silence, Usage
from support.server import RunningServer, running_server
from support.talk import WEATHER, Talk

LIFETIME = 2  # whole seconds, of which the first may be nearly over when a run is created

lasting_model, server = lasting.lasting_model, lasting.server(run_lifetime_seconds=LIFETIME)

ANSWERS = {
    "silent": Reply(Silence(before_headers=True)),
    "in text": Reply("Once upon", Silence()),
    "in a call": Reply(Call("call_a", "weather", "{"), Silence()),
    "waiting": Reply(Call("call_a", "weather", "{}"), usage=Usage(7, 3)),
    "pausing": Failure(503, retry_after=15),
}


@dataclass
class Scene:
    """A run that has expired, and the stream that it was watched by."""

    talk: Talk
    events: list[Event]
    run: dict[str, Any]

    @property
    def end(self) -> list[str]:
        return [event.name for event in self.events][-4:]


@pytest.fixture(scope="module")
async def scenes(server: RunningServer, lasting_model: ScriptedModel) -> dict[str, Scene]:
    """One run of each kind: they are waited for together, since each takes its second."""
    for name, answer in ANSWERS.items():
        lasting_model.rule(lambda asked, name=name: asked.body["messages"][-1]["content"] == name, answer)  # type: ignore[misc]
    played = await asyncio.gather(*(play(server.client, name) for name in ANSWERS))
    return dict(zip(ANSWERS, played, strict=True))


async def play(client: Client, name: str) -> Scene:
    talk = await Talk.begin(client, content=name, tools=[WEATHER])
    events = await talk.stream()
    return Scene(talk, events, await talk.until(await talk.newest_run(), "expired"))


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_expired_run_says_so_and_keeps_the_time_that_is_over(scenes: dict[str, Scene], name: str) -> None:
    run = scenes[name].run
    assert run["expires_at"] == run["created_at"] + LIFETIME
    empty = ("completed_at", "failed_at", "cancelled_at", "last_error", "required_action", "incomplete_details")
    assert [run[key] for key in empty] == [None] * len(empty)
    assert run["usage"] is not None


@pytest.mark.parametrize("name", ["silent", "pausing"])
async def test_before_the_first_word(scenes: dict[str, Scene], name: str) -> None:
    scene = scenes[name]
    assert scene.end[1:] == ["thread.run.in_progress", "thread.run.expired", "done"]
    assert await scene.talk.steps(scene.run) == []


async def test_in_the_middle_of_a_text(scenes: dict[str, Scene]) -> None:
    scene = scenes["in text"]
    assert scene.end == ["thread.message.incomplete", "thread.run.step.expired", "thread.run.expired", "done"]
    message = (await scene.talk.messages())[-1]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_expired"})
    assert message["content"][0]["text"]["value"] == "Once upon"
    (step,) = await scene.talk.steps(scene.run)
    assert (step["status"], step["expired_at"] is not None) == ("expired", True)


async def test_in_the_middle_of_a_call(scenes: dict[str, Scene]) -> None:
    scene = scenes["in a call"]
    assert scene.end[1:] == ["thread.run.step.expired", "thread.run.expired", "done"]
    (step,) = await scene.talk.steps(scene.run)
    assert (step["status"], step["type"]) == ("expired", "tool_calls")


async def test_while_it_waits_for_tool_outputs(scenes: dict[str, Scene]) -> None:
    scene = scenes["waiting"]
    assert scene.end[2:] == ["thread.run.requires_action", "done"]
    (step,) = await scene.talk.steps(scene.run)
    assert step["status"] == "expired"
    assert step["usage"] == scene.run["usage"] == Usage(7, 3).as_json()
    late = await scene.talk.client.request(
        "POST",
        f"{scene.talk.path}/runs/{scene.run['id']}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": "call_a", "output": "Rain"}]},
    )
    assert late.error["message"] == 'Runs in status "expired" do not accept tool outputs.'
    cancel = await scene.talk.client.request("POST", f"{scene.talk.path}/runs/{scene.run['id']}/cancel")
    assert cancel.error["message"] == "Cannot cancel run with status 'expired'."


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_thread_is_free_again(scenes: dict[str, Scene], lasting_model: ScriptedModel, name: str) -> None:
    talk = scenes[name].talk
    await talk.client.post(f"{talk.path}/messages", {"role": "user", "content": "Go on."})
    await talk.until(await talk.run(), "completed")
    lasting_model.check()


async def test_the_model_server_is_let_go_of(scenes: dict[str, Scene], lasting_model: ScriptedModel) -> None:
    await lasting_model.until(lambda: lasting_model.disconnects >= 3)


@pytest.fixture
async def idle(lasting_model: ScriptedModel, tmp_path: Any) -> AsyncIterator[RunningServer]:
    async with running_server(lasting_model, tmp_path, worker=False, run_lifetime_seconds=1) as running:
        yield running


async def test_a_run_that_nobody_took_expires_in_the_queue(idle: RunningServer) -> None:
    talk = await Talk.begin(idle.client)
    events = await talk.stream()
    assert [event.name for event in events] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.expired",
        "done",
    ]
    run = await talk.get(events[-2].data)
    assert (run["status"], run["started_at"], run["usage"]["total_tokens"]) == ("expired", None, 0)


async def test_a_lifetime_may_be_days(lasting_model: ScriptedModel, tmp_path: Any) -> None:
    days = 14 * 86_400
    async with running_server(lasting_model, tmp_path, run_lifetime_seconds=days) as patient:
        talk = await Talk.begin(patient.client)
        run = await talk.run()
        assert run["expires_at"] == run["created_at"] + days
        assert (await talk.until(run, "completed"))["expires_at"] is None
