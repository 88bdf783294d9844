"""Runs whose model calls the file search: what its steps become, what the model is told, who is asked for outputs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.house import PROJECT, WEATHER, House, open_house
from support.model_server import Call, Interleaved, Reply, ScriptedModel
from support.readable import check_readable
from support.scripted_search import SEARCH, ScriptedSearch, ScriptedStores, passage, scripted_file_search
from support.talk import polled
from understudy.core.ids import RunId
from understudy.ports import EmbeddingFailed
from understudy.wire.messages import FileCitation, TextPart
from understudy.wire.runs import Run
from understudy.wire.steps import FileSearchCall, FunctionCall, RunStep, ToolCalls
from understudy.wire.tools import (
    FileSearchOptionsBody,
    FileSearchResources,
    FileSearchToolBody,
    FunctionBody,
    FunctionToolBody,
    RankingOptionsBody,
    ToolChoice,
    ToolResources,
)

NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
ASKS = Call("call_s", "file_search", '{"queries": ["rain', 'fall"]}')
ANSWER = Reply("It rains【0:1†so", "urce】.")


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
def search() -> ScriptedSearch:
    return ScriptedSearch(passage("sun.txt", "The sun shines."), passage("rain.pdf", "It rains a lot.", page=3))


@pytest.fixture
def stores() -> ScriptedStores:
    return ScriptedStores()


@pytest.fixture
async def house(
    model: ScriptedModel, search: ScriptedSearch, stores: ScriptedStores, tmp_path: Path
) -> AsyncIterator[House]:
    def tools(store: Any) -> list[Any]:
        return [scripted_file_search(store, search, stores)]

    async with open_house(tmp_path, model, tools=tools, **NEVER) as opened:
        yield opened


async def searching(house: House, *tools: Any, **fields: Any) -> Run:
    return await house.start_run(vector_stores=["vs_A"], tools=[*(tools or (SEARCH,))], **fields)


async def steps_of(house: House, run: Run) -> list[RunStep]:
    return [*await house.store.steps(RunId(run.id))]


def calls_of(step: RunStep) -> list[Any]:
    assert isinstance(step.step_details, ToolCalls)
    return step.step_details.tool_calls


def told(model: ScriptedModel, turn: int) -> list[str]:
    """The outputs of tools that the model was shown in this turn."""
    return [message["content"] for message in model.chats[turn].body["messages"] if message["role"] == "tool"]


async def test_a_search_is_made_at_once_and_its_passages_are_cited(
    house: House, model: ScriptedModel, search: ScriptedSearch, stores: ScriptedStores
) -> None:
    model.script(Reply(ASKS), ANSWER)
    run = await house.until(await searching(house), "completed")
    searched, spoken = await steps_of(house, run)
    (call,) = calls_of(searched)
    assert isinstance(call, FileSearchCall)
    assert [(one.file_id, one.file_name, one.score) for one in call.file_search.results] == [
        ("file-sun", "sun.txt", 0.5),
        ("file-rain", "rain.pdf", 0.5),
    ]
    assert (searched.status, spoken.status) == ("completed", "completed")
    message = (await house.store.first_messages(run.thread_id, limit=9))[-1].message  # type: ignore[arg-type]
    (part,) = message.content
    assert isinstance(part, TextPart)
    assert part.text.value == "It rains【0:1†source】."
    (annotation,) = part.text.annotations
    assert isinstance(annotation, FileCitation)
    assert (annotation.text, annotation.start_index, annotation.end_index) == ("【0:1†source】", 8, 20)
    assert annotation.file_citation.file_id == "file-rain"
    assert [(ids, request.queries, request.limit) for ids, request in search.asked] == [(["vs_A"], ["rainfall"], 20)]
    assert stores.used == ["vs_A"]
    assert run.usage is not None
    assert run.usage.total_tokens == sum(step.usage.total_tokens for step in (searched, spoken) if step.usage)


async def test_the_model_sees_its_own_call_and_the_numbered_passages(house: House, model: ScriptedModel) -> None:
    model.script(Reply(ASKS), ANSWER)
    await house.until(await searching(house), "completed")
    (tool,) = model.chats[0].body["tools"]
    assert tool["function"]["name"] == "file_search"
    asked, answered = model.chats[1].body["messages"][-2:]
    assert asked["tool_calls"][0]["function"] == {"name": "file_search", "arguments": '{"queries":["rainfall"]}'}
    assert answered["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert "【0:0†source】 sun.txt\nThe sun shines." in answered["content"]
    assert "【0:1†source】 rain.pdf, page 3\nIt rains a lot." in answered["content"]


async def test_each_turn_numbers_its_passages_anew_and_older_ones_can_still_be_cited(
    house: House, model: ScriptedModel
) -> None:
    both = Interleaved(ASKS, Call("call_t", "file_search", '{"query": "sun"}'))
    model.script(Reply(ASKS), Reply(both), Reply("A[0:0] b【1:3†x】 c【2:0†source】 d[1]."))
    run = await house.until(await searching(house), "completed")
    assert "【1:3†source】 rain.pdf" in told(model, 2)[-1]
    assert await house.said(run) == ["A【0:0†source】 b【1:3†source】 c d【1:1†source】."]


async def test_functions_beside_a_search_are_the_clients_to_call(house: House, model: ScriptedModel) -> None:
    model.script(Reply("Let me see.", Interleaved(ASKS, Call("call_w", "weather", "{}"))), ANSWER)
    run = await house.until(await searching(house, SEARCH, WEATHER), "requires_action")
    assert run.required_action is not None
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_w"]
    said, waiting = await steps_of(house, run)
    assert (said.type, waiting.status) == ("message_creation", "in_progress")
    assert [type(call) for call in calls_of(waiting)] == [FileSearchCall, FunctionCall]
    assert len(calls_of(waiting)[0].file_search.results) == 2
    await house.submit(run, call_w="Rain.")
    run = await house.until(run, "completed")
    done = (await steps_of(house, run))[1]
    assert (done.status, calls_of(done)[1].function.output) == ("completed", "Rain.")
    assert ["The sun shines." in told(model, 1)[0], told(model, 1)[1]] == [True, "Rain."]
    assert (await house.said(run))[-1] == "It rains【0:1†source】."


async def test_a_function_of_the_same_name_stays_the_clients(
    house: House, model: ScriptedModel, search: ScriptedSearch
) -> None:
    mine = FunctionToolBody(function=FunctionBody(name="file_search"))
    model.script(Reply(Interleaved(ASKS, Call("call_b", "built_in_file_search", '{"queries": ["x"]}'))))
    run = await house.until(await searching(house, mine, SEARCH), "requires_action")
    (step,) = await steps_of(house, run)
    assert [type(call) for call in calls_of(step)] == [FunctionCall, FileSearchCall]
    assert [request.queries for _, request in search.asked] == [["x"]]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "file_search"}, {"type": "function", "function": {"name": "file_search"}}),
        ("required", "required"),
        ("auto", "auto"),
        (None, None),
    ],
)
async def test_a_forced_choice_is_for_the_first_turn(
    house: House, model: ScriptedModel, choice: Any, sent: Any
) -> None:
    fields = {} if choice is None else {"tool_choice": msgspec.convert(choice, ToolChoice)}
    model.script(Reply(ASKS), ANSWER)
    await house.until(await searching(house, **fields), "completed")
    assert model.chats[0].body.get("tool_choice") == sent
    assert model.chats[1].body.get("tool_choice") == (None if sent != "auto" else "auto")


async def test_a_search_that_is_not_to_be_used_is_not_shown(house: House, model: ScriptedModel) -> None:
    model.script(Reply("No [1]【0:0†source】."))
    run = await house.until(await searching(house, tool_choice="none"), "completed")
    assert "tools" not in model.chats[0].body
    assert await house.said(run) == ["No [1]【0:0†source】."]


@pytest.mark.parametrize("arguments", ["{", "[1]", '{"queries": [3]}', "{}", '{"queries": []}', "[" * 5000, ""])
async def test_arguments_that_make_no_sense_are_answered_with_how_to_write_them(
    house: House, model: ScriptedModel, search: ScriptedSearch, arguments: str
) -> None:
    model.script(Reply(Call("call_s", "file_search", arguments)), Reply("Sorry."))
    run = await house.until(await searching(house), "completed")
    assert told(model, 1)[0].startswith("The call could not be read.")
    assert search.asked == []
    assert calls_of((await steps_of(house, run))[0])[0].file_search.results == []


async def test_a_search_that_fails_ends_the_run_with_its_reason(
    house: House, model: ScriptedModel, search: ScriptedSearch
) -> None:
    search.failure = EmbeddingFailed("The embeddings server is away.", retryable=True)
    model.script(Reply(ASKS))
    run = await house.until(await searching(house), "failed")
    assert run.last_error is not None
    assert run.last_error.message == "The files could not be searched: The embeddings server is away."
    (step,) = await steps_of(house, run)
    assert (step.status, step.usage) == ("failed", run.usage)
    assert run.usage is not None
    assert run.usage.total_tokens > 0


async def test_a_cancel_does_not_wait_for_a_search(house: House, model: ScriptedModel, search: ScriptedSearch) -> None:
    search.gate = asyncio.Event()
    model.script(Reply(ASKS))
    run = await searching(house)
    await search.until_asked()
    await house.cancel(run)
    run = await house.until(run, "cancelled")
    (step,) = await steps_of(house, run)
    assert (step.status, len(calls_of(step))) == ("cancelled", 1)
    assert step.usage == run.usage
    assert run.usage is not None
    assert run.usage.total_tokens > 0


async def test_a_run_expires_while_it_searches(house: House, model: ScriptedModel, search: ScriptedSearch) -> None:
    search.gate = asyncio.Event()
    model.script(Reply(ASKS))
    run = await house.until(await searching(house, lifetime_seconds=1), "expired")
    assert [step.status for step in await steps_of(house, run)] == ["expired"]


async def test_results_are_as_many_as_the_tool_says_and_no_worse(
    house: House, model: ScriptedModel, search: ScriptedSearch
) -> None:
    options = FileSearchOptionsBody(max_num_results=1, ranking_options=RankingOptionsBody(score_threshold=0.4))
    model.script(Reply(ASKS), Reply("So."))
    run = await house.until(await searching(house, FileSearchToolBody(file_search=options)), "completed")
    ((_, request),) = search.asked
    assert (request.limit, request.score_threshold) == (1, 0.4)
    (call,) = calls_of((await steps_of(house, run))[0])
    assert len(call.file_search.results) == 1
    assert call.file_search.ranking_options.score_threshold == 0.4


async def test_small_models_are_told_less(house: House, model: ScriptedModel, search: ScriptedSearch) -> None:
    search.passages = [passage(f"{n}.txt", "word " * 2_000, number=n) for n in range(9)]
    model.script(Reply(ASKS), Reply("So."), Reply(ASKS), Reply("So."))
    few = await house.until(await searching(house, model="gpt-3.5-turbo"), "completed")
    many = await house.until(await searching(house, model="gpt-4o"), "completed")
    assert search.asked[0][1].limit == 5
    shown = [len(calls_of((await steps_of(house, run))[0])[0].file_search.results) for run in (few, many)]
    assert shown == [2, 8]


async def test_a_run_waits_for_the_threads_files_and_not_for_ever(
    model: ScriptedModel, search: ScriptedSearch, stores: ScriptedStores, tmp_path: Path
) -> None:
    def tools(store: Any) -> list[Any]:
        return [scripted_file_search(store, search, stores, wait_seconds=0.2)]

    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        run = await house.until(await searching(house), "completed")
        await house.store.update_thread(
            PROJECT,
            run.thread_id,
            lambda thread: msgspec.structs.replace(
                thread, tool_resources=ToolResources(file_search=FileSearchResources(vector_store_ids=["vs_T"]))
            ),
        )
        stores.indexing = {"vs_A", "vs_T"}
        waiting = await searching(house, thread_id=run.thread_id)
        await polled_for(lambda: stores.looks >= 2)
        assert len(model.chats) == 1
        stores.indexing = {"vs_A"}
        model.script(Reply(ASKS), Reply("So."))
        await house.until(waiting, "completed")
        assert search.asked[-1][0] == ["vs_A", "vs_T"]
        stores.indexing = {"vs_T"}
        await house.until(await searching(house, thread_id=run.thread_id), "completed")


async def polled_for(condition: Callable[[], bool]) -> None:
    async def look() -> bool | None:
        return True if condition() else None

    await polled(look)


async def test_an_expired_store_fails_the_run(house: House, model: ScriptedModel, stores: ScriptedStores) -> None:
    stores.expired = {"vs_A"}
    run = await house.until(await searching(house), "failed")
    assert run.last_error is not None
    assert run.last_error.message == "Vector store vs_A is expired."
    assert model.chats == []


async def test_the_stream_of_a_search_is_one_that_clients_can_read(house: House, model: ScriptedModel) -> None:
    model.script(Reply(Interleaved(ASKS, Call("call_w", "weather", "{}"))), ANSWER)
    run = await house.until(await searching(house, SEARCH, WEATHER), "requires_action")
    await house.submit(run, call_w="Rain.")
    await house.until(run, "completed")
    facts = await house.facts(run)
    check_readable([(fact.event, msgspec.json.decode(fact.data)) for fact in facts])
    assert b"The sun shines." not in b"".join(fact.data for fact in facts)


async def test_citations_of_an_earlier_run_are_not_shown_to_a_later_one(house: House, model: ScriptedModel) -> None:
    model.script(Reply(ASKS), ANSWER, Reply("Yes."))
    run = await house.until(await searching(house), "completed")
    await house.until(await searching(house, thread_id=run.thread_id), "completed")
    assert [message["content"] for message in model.chats[-1].body["messages"]] == ["What is 2+2?", "It rains."]
