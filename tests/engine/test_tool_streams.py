"""Streams of runs that search files, frame for frame, as readers see them live, late, and from the log alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Event
from support.house import WEATHER, House, open_house
from support.model_server import Call, Interleaved, Reply, ScriptedModel
from support.readable import check_readable
from support.scripted_search import SEARCH, ScriptedSearch, passage, scripted_file_search
from support.sdk import accumulated, without_index
from support.transcript import Normaliser, check_golden, transcript
from understudy.bus.memory import MemoryBus
from understudy.core.ids import RunId
from understudy.engine.including import IncludingStream
from understudy.engine.position import Position
from understudy.engine.stream import START, RunStream
from understudy.ports import EmbeddingFailed
from understudy.wire.runs import Run

NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
ASKS = Call("call_s", "file_search", '{"queries": ["rain', 'fall"]}')
ANSWER = Reply("It rains【0:1†so", "urce】, ", "and shines 【0:0†sun.txt】.")
MIXED = Reply(Interleaved(ASKS, Call("call_w", "weather", '{"city":', '"Oslo"}')))


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
def search() -> ScriptedSearch:
    return ScriptedSearch(passage("sun.txt", "The sun shines."), passage("rain.pdf", "It rains a lot.", page=3))


@pytest.fixture
async def house(model: ScriptedModel, search: ScriptedSearch, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(
        tmp_path, model, tools=lambda store: [scripted_file_search(store, search)], **NEVER
    ) as opened:
        yield opened


async def searching(house: House, *tools: Any) -> Run:
    return await house.start_run(vector_stores=["vs_A"], tools=[*(tools or (SEARCH,))])


async def read(stream: RunStream, *, whole: bool = True) -> list[Event]:
    events: list[Event] = []
    while frames := await stream.next():
        for frame in frames:
            id_, name, data = (line.partition(b": ")[2].decode() for line in frame.rstrip().split(b"\n"))
            events.append(Event(name, json.loads(data), id_))
    stream.close()
    if whole:
        check_readable([(event.name, event.data) for event in events])
    return events


async def retold(house: House, run: Run, *, after: Position = START) -> list[Event]:
    """As a process tells it that has only the log."""
    bus = MemoryBus(house.clock)
    try:
        return await read(RunStream(house.store, bus, RunId(run.id), after=after))
    finally:
        await bus.close()


def summed(events: list[Event]) -> dict[str, Any]:
    """The deltas of each message and step, added up as the SDKs do."""
    deltas: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event.name.endswith(".delta"):
            deltas.setdefault(event.data["id"], []).append(event.data["delta"])
    return {id_: accumulated(of_one) for id_, of_one in deltas.items()}


def with_plain_entries(content: Any) -> Any:
    """Parts and annotations without the places that only deltas carry."""
    parts = without_index(content)
    return [
        {**part, "text": {**part["text"], "annotations": without_index(part["text"]["annotations"])}} for part in parts
    ]


async def test_a_search_and_its_citations(house: House, model: ScriptedModel) -> None:
    model.script(Reply(ASKS), ANSWER)
    run = await searching(house)
    events = await read(house.stream(run))
    check_golden("file-search", transcript(events))
    completed = next(event.data for event in events if event.name == "thread.message.completed")
    assert with_plain_entries(summed(events)[completed["id"]]["content"]) == completed["content"]
    assert len(completed["content"][0]["text"]["annotations"]) == 2
    late = await retold(house, run)
    assert with_plain_entries(summed(late)[completed["id"]]["content"]) == completed["content"]
    assert [event for event in late if not event.name.endswith(".delta")] == [
        Event(event.name, event.data, event.id) for event in events if not event.name.endswith(".delta")
    ]


async def test_what_was_found_is_included_for_who_asks(house: House, model: ScriptedModel) -> None:
    model.script(Reply(ASKS), ANSWER)
    run = await searching(house)
    events = await read(IncludingStream(house.store, house.bus, RunId(run.id)))
    searched = next(event.data for event in events if event.name == "thread.run.step.completed")
    results = searched["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert [result["content"] for result in results] == [
        [{"type": "text", "text": "The sun shines."}],
        [{"type": "text", "text": "It rains a lot."}],
    ]
    plain = await read(house.stream(run))
    assert [event.name for event in plain] == [event.name for event in events]
    assert "The sun shines." not in json.dumps([event.data for event in plain])


async def test_a_search_beside_a_function(house: House, model: ScriptedModel) -> None:
    model.script(MIXED, ANSWER)
    run = await searching(house, SEARCH, WEATHER)
    names = Normaliser()
    first = await read(house.stream(run))
    check_golden("file-search-and-function", transcript(first, names))
    (calls,) = [total["step_details"]["tool_calls"] for total in summed(first).values()]
    assert [summed(await retold(house, run))[id_]["step_details"]["tool_calls"] for id_ in summed(first)] == [calls]
    resting = int(first[-1].id)
    await house.submit(run, call_w="Rain.")
    rest = await read(RunStream(house.store, house.bus, RunId(run.id), after=Position(resting)), whole=False)
    check_golden("file-search-and-function-outputs", transcript(rest, names))
    late = await retold(house, run)
    assert [event.name for event in late if event.name == "thread.run.requires_action"], "told up to where it rested"
    assert next(iter(summed(late).values()))["step_details"]["tool_calls"] == calls


async def test_a_search_that_is_cancelled(house: House, model: ScriptedModel, search: ScriptedSearch) -> None:
    search.gate = asyncio.Event()
    model.script(Reply(ASKS))
    run = await searching(house)
    reading = asyncio.create_task(read(house.stream(run)))
    await search.until_asked()
    await house.cancel(run)
    events = await reading
    check_golden("file-search-cancelled", transcript(events))
    late = await retold(house, run)
    assert {event.name for event in late} == {event.name for event in events}
    assert summed(late) == summed(events)


async def test_a_search_that_fails(house: House, model: ScriptedModel, search: ScriptedSearch) -> None:
    search.failure = EmbeddingFailed("The embeddings server is away.", retryable=False)
    model.script(Reply(ASKS))
    check_golden("file-search-failed", transcript(await read(house.stream(await searching(house)))))
