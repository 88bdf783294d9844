"""The lock on a thread, tool outputs and cancelling, in every state of a run. Contract sections 3.2 to 3.4."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.answers import assert_refused
from support.client import Client
from support.clock import Clock, clock_set
from support.model_server import ScriptedModel
from support.server import ON_POSTGRES, RunningServer, running_server
from support.talk import WEATHER, Talk

TWO_CALLS = '@calls [{"name": "weather", "arguments": {}}, {"name": "weather", "arguments": {"city": "Oslo"}}]'
ENDED = {"completed": "@say Hello", "failed": "@fail 400 No", "incomplete": "@length Half"}
NOT_WAITING = ["queued", "in_progress", "cancelling", "cancelled", "failed", "completed", "incomplete", "expired"]
NOT_CANCELLABLE = ["cancelling", "cancelled", "failed", "completed", "incomplete", "expired"]


class Stage:
    """A server with a worker, another without one on the same rows, one alone without any, and the clock of all."""

    def __init__(self, working: RunningServer, idle: RunningServer, alone: RunningServer, clock: Clock) -> None:
        self.working = working.client
        self.idle = idle.client
        self.alone = alone.client
        self.clock = clock

    async def run_in(self, status: str) -> tuple[Talk, dict[str, Any]]:
        """A run that has this status and keeps it for the length of a test, and its talk with a server."""
        match status:
            case "queued":
                talk = await Talk.begin(self.alone)
                return talk, await talk.run()
            case "in_progress" | "cancelling":
                return await self._begun(status)
            case "requires_action" | "cancelled" | "expired":
                return await self._waiting(status)
            case _:
                talk = await Talk.begin(self.working, content=ENDED[status])
                return self._seen_from_idle(talk), (await talk.stream())[-2].data

    async def _begun(self, status: str) -> tuple[Talk, dict[str, Any]]:
        talk = await Talk.begin(self.working, content="@hang Hello")
        run = await talk.run()
        await talk.until_it_speaks()
        if status == "cancelling":
            if ON_POSTGRES:
                pytest.skip("processes that share PostgreSQL call each other's workers away at once")
            # The idle server cannot call the other's worker away, so nobody lets go of the run for some seconds.
            await self.idle.post(f"{talk.path}/runs/{run['id']}/cancel")
        return self._seen_from_idle(talk), await talk.get(run)

    async def _waiting(self, status: str) -> tuple[Talk, dict[str, Any]]:
        talk = await Talk.begin(self.working, content=TWO_CALLS, tools=[WEATHER])
        run = (await talk.stream())[-2].data
        if status == "cancelled":
            await self.working.post(f"{talk.path}/runs/{run['id']}/cancel")
        if status == "expired":
            self.clock.advance(600)
        return self._seen_from_idle(talk), await talk.get(run)

    def _seen_from_idle(self, talk: Talk) -> Talk:
        return Talk(self.idle, talk.assistant, talk.thread)


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    rows, other_rows = tmp_path_factory.mktemp("rows"), tmp_path_factory.mktemp("other-rows")
    with clock_set() as clock:
        async with (
            ScriptedModel() as model,
            running_server(model, rows) as working,
            running_server(model, rows, worker=False) as idle,
            running_server(model, other_rows, worker=False) as alone,
        ):
            yield Stage(working, idle, alone, clock)


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


def outputs_for(run: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return [{"tool_call_id": call["id"], "output": "Rain", **changes} for call in calls]


async def waiting(client: Client, content: str = TWO_CALLS) -> tuple[Talk, dict[str, Any]]:
    """A run that waits for outputs."""
    talk = await Talk.begin(client, content=content, tools=[WEATHER])
    return talk, (await talk.stream())[-2].data


# --- the lock


async def test_of_twenty_runs_that_race_for_a_thread_one_wins(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    body = {"assistant_id": talk.assistant["id"]}
    answers = await asyncio.gather(*(client.request("POST", f"{talk.path}/runs", body) for _ in range(20)))
    (winner,) = [answer.body for answer in answers if answer.status == 200]
    losers = [answer for answer in answers if answer.status != 200]
    assert len(losers) == 19
    for loser in losers:
        assert_refused(loser, f"Thread {talk.thread['id']} already has an active run {winner['id']}.")
    assert [run["id"] for run in (await client.get(f"{talk.path}/runs"))["data"]] == [winner["id"]]


async def test_a_streamed_run_is_refused_as_json_when_the_thread_is_locked(client: Client) -> None:
    talk, run = await waiting(client)
    body = {"assistant_id": talk.assistant["id"], "stream": True}
    refused = await client.request("POST", f"{talk.path}/runs", body)
    assert_refused(refused, f"Thread {talk.thread['id']} already has an active run {run['id']}.")
    assert refused.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
async def test_every_active_run_locks_its_thread(stage: Stage, status: str) -> None:
    talk, run = await stage.run_in(status)
    assert run["status"] == status
    for path, body, text in (
        ("messages", {"role": "user", "content": "x"}, "Can't add messages to {0} while a run {1} is active."),
        ("runs", {"assistant_id": talk.assistant["id"]}, "Thread {0} already has an active run {1}."),
    ):
        refused = await talk.client.request("POST", f"{talk.path}/{path}", body)
        assert_refused(refused, text.format(talk.thread["id"], run["id"]))


@pytest.mark.parametrize("status", ["cancelled", "failed", "completed", "incomplete"])
async def test_a_run_that_has_ended_locks_nothing(stage: Stage, status: str) -> None:
    talk, run = await stage.run_in(status)
    assert run["status"] == status
    await talk.client.post(f"{talk.path}/messages", {"role": "user", "content": "@say Hello"})
    assert (await talk.run())["status"] == "queued"


# --- tool outputs


@pytest.mark.parametrize("status", NOT_WAITING)
async def test_outputs_are_refused_by_a_run_that_does_not_wait_for_them(stage: Stage, status: str) -> None:
    talk, run = await stage.run_in(status)
    body = {"tool_outputs": [{"tool_call_id": "call_1", "output": "1"}]}
    for asked in (body, {**body, "stream": True}):
        refused = await talk.client.request("POST", f"{talk.path}/runs/{run['id']}/submit_tool_outputs", asked)
        assert_refused(refused, f'Runs in status "{status}" do not accept tool outputs.')
    assert (await talk.get(run))["status"] == status


async def test_outputs_must_be_for_exactly_the_calls_that_are_open(client: Client) -> None:
    talk, run = await waiting(client)
    path = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
    a, b = outputs_for(run)
    first, second = a["tool_call_id"], b["tool_call_id"]
    for got in ([a], [b], [], [a, a], [a, b, b], [a, {"tool_call_id": "call_nobody", "output": ""}]):
        ids = [one["tool_call_id"] for one in got]
        refused = await client.request("POST", path, {"tool_outputs": got})
        assert_refused(refused, f"Expected tool outputs for call_ids ['{first}', '{second}'], got {ids!r}")
    assert await talk.get(run) == run
    assert (await client.post(path, {"tool_outputs": [b, a]}))["status"] == "queued"


@pytest.mark.parametrize(
    ("output", "message", "param", "code"),
    [
        (
            {"output": "1"},
            "Missing required parameter: 'tool_outputs[0].tool_call_id'.",
            "tool_outputs[0].tool_call_id",
            "missing_required_parameter",
        ),
        (
            {"tool_call_id": "call_1", "output": {}},
            "Invalid type for 'tool_outputs[0].output': expected a string, but got an object instead.",
            "tool_outputs[0].output",
            "invalid_type",
        ),
        (
            {"tool_call_id": None},
            "Invalid type for 'tool_outputs[0].tool_call_id': expected a string, but got null instead.",
            "tool_outputs[0].tool_call_id",
            "invalid_type",
        ),
    ],
)
async def test_outputs_of_the_wrong_form_are_refused(
    client: Client, output: dict[str, Any], message: str, param: str, code: str
) -> None:
    talk, run = await waiting(client)
    path = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
    refused = await client.request("POST", path, {"tool_outputs": [output]})
    assert_refused(refused, message, param=param, code=code)
    missing = await client.request("POST", path, {})
    text = "Missing required parameter: 'tool_outputs'."
    assert_refused(missing, text, param="tool_outputs", code="missing_required_parameter")
    assert await talk.get(run) == run


@pytest.mark.parametrize("absent", [{}, {"output": None}])
async def test_an_output_that_is_not_given_is_empty(client: Client, absent: dict[str, None]) -> None:
    talk, run = await waiting(client, "@call weather {}")
    (output,) = outputs_for(run)
    body = {"tool_outputs": [{"tool_call_id": output["tool_call_id"], **absent}]}
    await client.post(f"{talk.path}/runs/{run['id']}/submit_tool_outputs", body)
    await talk.until(run, "completed")
    assert (await talk.steps(run))[0]["step_details"]["tool_calls"][0]["function"]["output"] == ""


async def test_submitting_frees_the_run_and_moves_no_deadline(tmp_path: Path) -> None:
    with clock_set() as clock:
        async with ScriptedModel() as model, running_server(model, tmp_path) as working:
            talk, run = await waiting(working.client)
        clock.advance(10)
        async with running_server(None, tmp_path, worker=False) as idle:
            path, body = f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs_for(run)}
            queued = await idle.client.post(path, body)
            assert queued == {**run, "status": "queued", "required_action": None}
            again = await idle.client.request("POST", path, body)
            assert_refused(again, 'Runs in status "queued" do not accept tool outputs.')


async def test_outputs_that_come_too_late_meet_an_expired_run(stage: Stage) -> None:
    talk, run = await stage.run_in("requires_action")
    stage.clock.advance(600)
    path = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
    late = await talk.client.request("POST", path, {"tool_outputs": outputs_for(run)})
    assert_refused(late, 'Runs in status "expired" do not accept tool outputs.')
    expired = await talk.get(run)
    assert (expired["status"], expired["required_action"]) == ("expired", None)
    assert (await talk.steps(run))[0]["status"] == "expired"


async def test_of_twenty_submits_of_the_same_outputs_one_is_taken(client: Client) -> None:
    talk, run = await waiting(client)
    path, body = f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs_for(run)}
    answers = await asyncio.gather(*(client.request("POST", path, body) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200, *[400] * 19]
    await talk.until(run, "completed")
    assert len(await talk.messages()) == 2


# --- cancelling


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action"])
async def test_an_active_run_can_be_cancelled(stage: Stage, status: str) -> None:
    talk, run = await stage.run_in(status)
    assert run["status"] == status
    cancelling = await talk.client.post(f"{talk.path}/runs/{run['id']}/cancel")
    assert cancelling == {**run, "status": "cancelling", "required_action": None}
    if status != "in_progress":
        cancelled = await talk.get(run)
        assert (cancelled["status"], cancelled["cancelled_at"]) == ("cancelled", stage.clock.now)


async def test_cancelling_ends_what_the_model_is_saying(client: Client) -> None:
    talk = await Talk.begin(client, content="@hang One two")
    run = await talk.run()
    await talk.until_it_speaks()
    assert (await client.post(f"{talk.path}/runs/{run['id']}/cancel", {}))["status"] == "cancelling"
    cancelled = await talk.until(run, "cancelled")
    assert cancelled["cancelled_at"] >= run["created_at"]
    message = (await talk.messages())[-1]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_cancelled"})


@pytest.mark.parametrize("status", NOT_CANCELLABLE)
async def test_a_run_that_ends_or_has_ended_cannot_be_cancelled(stage: Stage, status: str) -> None:
    talk, run = await stage.run_in(status)
    refused = await talk.client.request("POST", f"{talk.path}/runs/{run['id']}/cancel")
    assert_refused(refused, f"Cannot cancel run with status '{status}'.")
    if status != "expired":
        assert await talk.get(run) == run
