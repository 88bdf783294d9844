"""Submitting tool outputs: every row of the contract's section 3.3."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from support import lasting
from support.client import Client
from support.model_server import Call, Interleaved, Reply, ScriptedModel, Silence
from support.server import RunningServer
from support.talk import WEATHER, Talk
from understudy.keys import DEFAULT_PROJECT
from understudy.store.opening import open_store

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()

TWO = Reply(Interleaved(Call("call_a", "weather", "{}"), Call("call_b", "weather", "{}")))


@pytest.fixture
async def waiting(client: Client, model: ScriptedModel) -> tuple[Talk, dict[str, Any]]:
    """A run that waits for the outputs of two calls."""
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(TWO)
    return talk, await talk.until(await talk.run(), "requires_action")


async def refused(talk: Talk, run: dict[str, Any], outputs: list[Any]) -> str:
    answer = await talk.client.request(
        "POST", f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs}
    )
    assert answer.status == 400, answer.body
    assert answer.error["type"] == "invalid_request_error"
    message: str = answer.error["message"]
    return message


def output(call_id: str, value: object = "3") -> dict[str, object]:
    return {"tool_call_id": call_id, "output": value}


async def test_outputs_in_any_order_go_to_their_calls(
    waiting: tuple[Talk, dict[str, Any]], model: ScriptedModel
) -> None:
    talk, run = waiting
    await talk.submit(run, call_b="second", call_a="first")
    await talk.until(run, "completed")
    assert [(one["tool_call_id"], one["content"]) for one in model.chats[1].body["messages"][-2:]] == [
        ("call_a", "first"),
        ("call_b", "second"),
    ]


@pytest.mark.parametrize(
    "ids",
    [["call_a"], [], ["call_a", "call_x"], ["call_a", "call_a"], ["call_a", "call_b", "call_b"], ["call_x"]],
)
async def test_outputs_must_answer_every_call_once(waiting: tuple[Talk, dict[str, Any]], ids: list[str]) -> None:
    talk, run = waiting
    message = await refused(talk, run, [output(id_) for id_ in ids])
    assert message == f"Expected tool outputs for call_ids ['call_a', 'call_b'], got {ids!r}"
    assert (await talk.get(run))["status"] == "requires_action"
    await talk.submit(run, call_a="1", call_b="2")
    await talk.until(run, "completed")


async def test_an_output_without_its_call_or_of_a_wrong_type_is_refused(
    waiting: tuple[Talk, dict[str, Any]],
) -> None:
    talk, run = waiting
    assert await refused(talk, run, [{"output": "1"}]) == "Missing required parameter: 'tool_outputs[0].tool_call_id'."
    assert await refused(talk, run, [output("call_a", {"a": 1})]) == (
        "Invalid type for 'tool_outputs[0].output': expected a string, but got an object instead."
    )
    answer = await talk.client.request("POST", f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {})
    assert answer.error["message"] == "Missing required parameter: 'tool_outputs'."


async def test_an_absent_and_a_null_output_are_empty_strings(
    waiting: tuple[Talk, dict[str, Any]], model: ScriptedModel
) -> None:
    talk, run = waiting
    path = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
    await talk.client.post(path, {"tool_outputs": [output("call_a", None), {"tool_call_id": "call_b"}]})
    await talk.until(run, "completed")
    assert [one["content"] for one in model.chats[1].body["messages"][-2:]] == ["", ""]
    (step, _) = await talk.steps(run)
    assert [call["function"]["output"] for call in step["step_details"]["tool_calls"]] == ["", ""]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_repeated_submit_is_refused(
    waiting: tuple[Talk, dict[str, Any]], model: ScriptedModel, stream: bool
) -> None:
    talk, run = waiting
    model.script(Reply(Silence()))
    await talk.submit(run, call_a="1", call_b="2")
    await talk.until(run, "in_progress")
    path = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
    body = {"tool_outputs": [output("call_a"), output("call_b")], "stream": stream}
    answer = await talk.client.request("POST", path, body)
    assert (answer.status, answer.error["message"]) == (
        400,
        'Runs in status "in_progress" do not accept tool outputs.',
    )
    await talk.cancel(run)


async def test_of_ten_submits_at_once_one_is_taken(waiting: tuple[Talk, dict[str, Any]], model: ScriptedModel) -> None:
    talk, run = waiting
    path = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
    body = {"tool_outputs": [output("call_a"), output("call_b")]}
    answers = await asyncio.gather(*(talk.client.request("POST", path, body) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 9
    for answer in answers:
        if answer.status == 400:
            assert answer.error["message"].endswith("do not accept tool outputs.")
    await talk.until(run, "completed")
    assert len(model.chats) == 2


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "incomplete"])
async def test_an_ended_run_takes_no_outputs(talk: Talk, model: ScriptedModel, status: str) -> None:
    endings = {
        "completed": Reply("Hi."),
        "cancelled": Reply(Silence()),
        "failed": Reply("Hi.", finish="none"),
        "incomplete": Reply("Hi.", finish="length"),
    }
    model.script(endings[status])
    run = await talk.run()
    if status == "cancelled":
        await talk.cancel(run)
    await talk.until(run, status)
    assert await refused(talk, run, [output("call_a")]) == f'Runs in status "{status}" do not accept tool outputs.'


async def test_a_run_whose_time_is_over_expires_first(
    waiting: tuple[Talk, dict[str, Any]], server: RunningServer
) -> None:
    talk, run = waiting
    store = await open_store(server.settings.database)
    # Of the object only: the sweep goes by its own column, and is to find nothing.
    await store.update_run(
        DEFAULT_PROJECT, run["thread_id"], run["id"], lambda run: replace(run, expires_at=run.created_at)
    )
    await store.close()
    message = await refused(talk, run, [output("call_a"), output("call_b")])
    assert message == 'Runs in status "expired" do not accept tool outputs.'
    assert (await talk.get(run))["status"] == "expired"
