"""A search that is lost with its worker, or meets a cancel in the same moment: it is told of once, and counted once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from support.house import House, open_house
from support.model_server import Call, Reply, ScriptedModel
from support.readable import check_readable
from support.scripted_search import SEARCH, ScriptedSearch, passage, scripted_file_search
from understudy.core.ids import RunId
from understudy.ports import BuiltIn, Store
from understudy.wire.runs import Run

NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
ASKS = Call("call_s", "file_search", '{"queries": ["rain"]}')


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
def search() -> ScriptedSearch:
    return ScriptedSearch(passage("rain.pdf", "It rains a lot."))


async def check_told(house: House, run: Run) -> None:
    """The log is readable, and the run's usage is the sum of its steps'."""
    check_readable([(fact.event, msgspec.json.decode(fact.data)) for fact in await house.facts(run)])
    run = (await house.stored(run)).state.run
    assert run.usage is not None
    steps = await house.store.steps(RunId(run.id))
    assert sum(step.usage.total_tokens for step in steps if step.usage is not None) == run.usage.total_tokens


@pytest.mark.parametrize("parts", [(ASKS,), ("Let me see.", ASKS)])
async def test_a_search_whose_worker_was_lost_is_asked_for_and_made_again(
    model: ScriptedModel, search: ScriptedSearch, tmp_path: Path, parts: tuple[str | Call, ...]
) -> None:
    def tools(store: Store) -> Sequence[BuiltIn]:
        return [scripted_file_search(store, search)]

    search.gate = asyncio.Event()
    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        model.script(Reply(*parts), Reply(*parts), Reply("It rains【0:0†source】."))
        run = await house.start_run(vector_stores=["vs_A"], tools=[SEARCH])
        await search.until_asked()
        await house.stop()
        search.gate.set()
        async with open_house(tmp_path, model, tools=tools, owner="w2", **{**NEVER, "sweep_seconds": 0.01}) as taker:
            await taker.until(run, "completed")
            said = [part for part in parts if isinstance(part, str)]
            assert await taker.said(run) == [*said, "It rains【0:0†source】."]
            assert len(await taker.store.steps(RunId(run.id))) == len(parts) + 1
            assert model.chats[1].body == model.chats[0].body
            await check_told(taker, run)


async def test_a_cancel_in_the_moment_in_which_a_search_ends_cancels_the_run(
    model: ScriptedModel, search: ScriptedSearch, tmp_path: Path
) -> None:
    def tools(store: Store) -> Sequence[BuiltIn]:
        return [scripted_file_search(store, search)]

    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        for moment in range(8):
            search.gate = gate = asyncio.Event()
            search._asks.clear()
            model.script(Reply(ASKS))
            run = await house.start_run(vector_stores=["vs_A"], tools=[SEARCH])
            await search.until_asked()
            cancelling = asyncio.create_task(house.cancel(run))
            for _ in range(moment):
                await asyncio.sleep(0)
            gate.set()
            await cancelling
            await house.until(run, "cancelled")
            await check_told(house, run)
            steps = await house.store.steps(RunId(run.id))
            assert [step.status for step in steps if step.type == "tool_calls"] in (["cancelled"], ["completed"])
            model.forget()
