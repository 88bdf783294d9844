"""Notes on calls of built-in tools: what only a run's model knows stays with the step, and goes with it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.store import ENGINES, NOON, PROJECT, Life, begun_thread, calls_step, open_engine
from understudy.core.run.state import Discarded, Note, Source, StepFact
from understudy.ports import PageQuery, Store

NOTES = {
    "call_s": Note(
        arguments='{"queries":["rain"]}',
        output="【1:0†source】 Rain \U0001f327.",
        sources=[Source(file_id="file-A", file_name="rain.txt", start=15, end=22, page=2)],
        turn=1,
    )
}
ALL = PageQuery(limit=100, descending=False)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def calling(store: Store) -> Life:
    """A run whose step of calls is open."""
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    step = calls_step(life.state.run)
    begun = [StepFact("thread.run.step.created", step), StepFact("thread.run.step.in_progress", step)]
    await life.go(replace(life.state, step=step), begun)
    return life


async def test_notes_stay_with_the_step_that_ends_with_them(store: Store) -> None:
    life = await calling(store)
    assert await store.notes(life.id) == {}
    step = life.state.step
    assert step is not None
    done = StepFact("thread.run.step.completed", replace(step, status="completed", completed_at=NOON))
    await life.go(replace(life.state, step=None), [done], notes=NOTES)
    assert await store.notes(life.id) == {step.id: NOTES}
    assert await store.steps(life.id) == [done.step]
    body = await store.body("step", PROJECT, life.id, step.id)
    assert body is not None
    assert b"queries" not in body


async def test_notes_stay_with_a_step_that_goes_on(store: Store) -> None:
    life = await calling(store)
    step = life.state.step
    assert step is not None
    await life.go(life.state, [], notes=NOTES)
    await life.go(replace(life.state, step=replace(step, metadata={"grown": "yes"})), [])
    assert await store.notes(life.id) == {step.id: NOTES}


async def test_notes_go_with_a_step_that_is_discarded(store: Store) -> None:
    life = await calling(store)
    step = life.state.step
    assert step is not None
    await life.go(life.state, [], notes=NOTES)
    await life.go(replace(life.state, step=None), [Discarded(step_ids=(step.id,))])
    assert await store.notes(life.id) == {}


async def test_a_runs_notes_are_its_own(store: Store) -> None:
    life, other = await calling(store), await calling(store)
    await life.go(life.state, [], notes=NOTES)
    assert await store.notes(other.id) == {}
