"""Run steps over HTTP. Contract section 5."""

from typing import Any

import pytest

from support.answers import assert_not_found, assert_refused
from support.client import Client
from support.server import RunningServer
from support.talk import WEATHER, Talk

NOWHERE = "step_" + "0" * 24
INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


def message_step(step: dict[str, Any], run: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """The step of a finished answer, as it must be shown."""
    return {
        "id": step["id"],
        "object": "thread.run.step",
        "created_at": step["created_at"],
        "run_id": run["id"],
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "type": "message_creation",
        "status": "completed",
        "cancelled_at": None,
        "completed_at": step["completed_at"],
        "expires_at": run["created_at"] + 600,
        "expired_at": None,
        "failed_at": None,
        "last_error": None,
        "step_details": {"type": "message_creation", "message_creation": {"message_id": message["id"]}},
        "metadata": {},
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }


async def test_an_answers_step_names_its_message(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Four.")
    run = (await talk.stream())[-2].data
    (step,) = await talk.steps(run)
    assert step == message_step(step, run, (await talk.messages())[-1])
    assert isinstance(step["completed_at"], int)
    assert await client.get(f"{talk.path}/runs/{run['id']}/steps/{step['id']}") == step


async def test_a_call_shows_no_output_until_there_is_one(client: Client) -> None:
    talk = await Talk.begin(client, content='@call weather {"city": "Oslo"}', tools=[WEATHER])
    run = (await talk.stream())[-2].data
    path = f"{talk.path}/runs/{run['id']}"
    (step,) = await talk.steps(run)
    (call,) = step["step_details"]["tool_calls"]
    assert (step["type"], step["status"], step["usage"]) == ("tool_calls", "in_progress", None)
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}', "output": None}
    await client.stream(
        f"{path}/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": call["id"], "output": "Rain"}]}
    )
    done, spoken = await talk.steps(run)
    assert done["step_details"]["tool_calls"] == [{**call, "function": {**call["function"], "output": "Rain"}}]
    assert (done["status"], spoken["type"]) == ("completed", "message_creation")
    assert isinstance(done["completed_at"], int)


async def test_the_usage_of_a_run_is_the_sum_of_its_steps(client: Client) -> None:
    talk = await Talk.begin(client, content="@saycall weather {}", tools=[WEATHER])
    run = (await talk.stream())[-2].data
    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
    events = await client.stream(
        f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": call["id"]}]}
    )
    usages = [step["usage"] for step in await talk.steps(run)]
    assert len(usages) == 3
    assert events[-2].data["usage"] == {key: sum(usage[key] for usage in usages) for key in usages[0]}


async def test_the_step_of_a_cancelled_call_is_cancelled(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    run = await talk.until(await talk.run(), "requires_action")
    await client.post(f"{talk.path}/runs/{run['id']}/cancel")
    await talk.until(run, "cancelled")
    (step,) = await talk.steps(run)
    assert step["status"] == "cancelled"
    assert isinstance(step["cancelled_at"], int)
    assert step["completed_at"] is None


async def test_the_step_of_a_failed_answer_says_what_failed(client: Client) -> None:
    talk = await Talk.begin(client, content="@cut Half")
    run = (await talk.stream())[-2].data
    (step,) = await talk.steps(run)
    assert (step["status"], step["last_error"]) == ("failed", run["last_error"])
    assert step["last_error"]["code"] == "server_error"
    assert isinstance(step["failed_at"], int)


async def test_newest_steps_come_first(client: Client) -> None:
    talk = await Talk.begin(client, content="@saycall weather {}", tools=[WEATHER])
    run = (await talk.stream())[-2].data
    page = await client.get(f"{talk.path}/runs/{run['id']}/steps")
    assert [step["type"] for step in page["data"]] == ["tool_calls", "message_creation"]


async def test_a_step_is_found_under_its_own_run_only(client: Client) -> None:
    talk, other = await Talk.begin(client, content="@say One"), await Talk.begin(client, content="@say Two")
    run, elsewhere = (await talk.stream())[-2].data, (await other.stream())[-2].data
    (step,) = await talk.steps(run)
    runs = f"{talk.path}/runs"
    for path, kind, id_ in (
        (f"{runs}/{run['id']}/steps/{NOWHERE}", "step", NOWHERE),
        (f"{other.path}/runs/{elsewhere['id']}/steps/{step['id']}", "step", step["id"]),
        (f"{runs}/{elsewhere['id']}/steps/{step['id']}", "run", elsewhere["id"]),
        (f"{runs}/{elsewhere['id']}/steps", "run", elsewhere["id"]),
        (f"{other.path}/runs/{run['id']}/steps/{step['id']}", "run", run["id"]),
    ):
        assert_not_found(await client.request("GET", path), kind, id_)


@pytest.mark.parametrize("spelling", ["include[]", "include", "include[0]"])
async def test_what_may_be_included_is_one_thing(client: Client, spelling: str) -> None:
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream())[-2].data
    (step,) = await talk.steps(run)
    path = f"{talk.path}/runs/{run['id']}/steps"
    assert (await client.get(path, **{spelling: INCLUDE}))["data"] == [step]
    assert await client.get(f"{path}/{step['id']}", **{spelling: INCLUDE}) == step
    for one in (path, f"{path}/{step['id']}"):
        assert_refused(
            await client.request("GET", one, params={spelling: "all"}),
            f"Invalid value: 'all'. Supported values are: '{INCLUDE}'.",
            param="include[0]",
            code="invalid_value",
        )


async def test_steps_cannot_be_changed(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream())[-2].data
    (step,) = await talk.steps(run)
    for method in ("POST", "DELETE"):
        refused = await client.request(method, f"{talk.path}/runs/{run['id']}/steps/{step['id']}")
        assert refused.status == 405
