"""Whole streams, frame for frame, as the contract's section 4 has them. The files in tests/golden are the promise."""

import asyncio
from typing import Any

from support.client import Client, Event
from support.model_server import Call, Cut, Failure, Interleaved, Refuse, Reply, ScriptedModel, Silence
from support.sdk import accumulated
from support.talk import WEATHER, Talk
from support.transcript import Normaliser, check_golden, transcript


def accumulate(events: list[Event]) -> dict[str, Any]:
    """The deltas of each message and step, added up as the SDKs do."""
    deltas: dict[str, list[dict[str, object]]] = {}
    for event in events:
        if event.name.endswith(".delta"):
            deltas.setdefault(event.data["id"], []).append(event.data["delta"])
    return {id_: accumulated(parts) for id_, parts in deltas.items()}


def shown(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Added-up entries as the whole object shows them: without `index`."""
    return [{key: value for key, value in entry.items() if key != "index"} for entry in entries]


async def test_plain_text(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("Fo", "ur", "."))
    events = await talk.stream()
    check_golden("text", transcript(events))
    assert shown(accumulate(events)[events[5].data["id"]]["content"]) == (await talk.messages())[-1]["content"]


async def test_an_empty_answer_is_a_message_with_one_empty_delta(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply())
    check_golden("empty", transcript(await talk.stream()))


async def test_a_refusal(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply(Refuse("I "), Refuse("cannot.")))
    events = await talk.stream()
    check_golden("refusal", transcript(events))
    assert shown(accumulate(events)[events[5].data["id"]]["content"]) == (await talk.messages())[-1]["content"]


async def test_a_function_call_and_its_outputs(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    names = Normaliser()
    model.script(Reply(Call("call_a", "weather", '{"city":', '"Paris"}')), Reply("Sunny."))
    first = await talk.stream()
    run = first[-2].data
    check_golden("function", transcript(first, names))
    second = await client.stream(
        f"{talk.path}/runs/{run['id']}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": "call_a", "output": "21 degrees"}]},
    )
    check_golden("function-outputs", transcript(second, names))
    step = (await talk.steps(run))[0]
    call = shown(accumulate(first)[step["id"]]["step_details"]["tool_calls"])[0]
    call["function"]["output"] = "21 degrees"
    assert call == step["step_details"]["tool_calls"][0]


async def test_parallel_calls_are_shown_one_after_the_other(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(
        Reply(Interleaved(Call("call_p", "weather", '{"city":', '"Oslo"}'), Call("call_q", "weather", "{", "}")))
    )
    check_golden("parallel", transcript(await talk.stream()))


async def test_text_before_calls_completes_its_step_first(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply("Let me ", "see.", Call("call_a", "weather", "{}")))
    check_golden("text-then-call", transcript(await talk.stream()))


async def test_a_failure_in_the_middle_of_text(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("Half", Cut()))
    check_golden("failure-in-text", transcript(await talk.stream()))


async def test_a_failure_before_anything(talk: Talk, model: ScriptedModel) -> None:
    model.script(Failure(400, "That prompt is too odd.", type="invalid_request_error"))
    check_golden("failure-at-once", transcript(await talk.stream()))


async def test_a_token_limit_in_text(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("One two", finish="length"))
    check_golden("incomplete", transcript(await talk.stream(max_completion_tokens=16)))


async def test_a_content_filter_in_text(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("One ", finish="content_filter"))
    check_golden("content-filter", transcript(await talk.stream()))


async def test_a_cancel_by_another_request(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("One", Silence()))
    streaming = asyncio.create_task(talk.stream())
    run = await talk.newest_run()
    await talk.until_it_speaks()
    cancelling = await talk.client.post(f"{talk.path}/runs/{run['id']}/cancel")
    assert (cancelling["status"], cancelling["cancelled_at"]) == ("cancelling", None)
    check_golden("cancel", transcript(await streaming))
    await model.until(lambda: model.disconnects == 1)


async def test_a_thread_and_its_run_in_one_request(client: Client, model: ScriptedModel) -> None:
    assistant = await client.post("/v1/assistants", {"model": "gpt-4o"})
    model.script(Reply("Four."))
    events = await client.stream(
        "/v1/threads/runs",
        {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "2+2?"}]}},
    )
    check_golden("thread-and-run", transcript(events))
