"""The fact log is kept for a while after a run's end; the rows stay."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.store import ENGINES, NOON, PROJECT, Life, begun_thread, open_engine
from understudy.ports import Lease, PageQuery, Store
from understudy.wire.runs import RunStatus

ALL = PageQuery(limit=100, descending=False)
FACTS = 10  # of a run that says one thing
MANY = 1_000


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def ended(store: Store, at: int = NOON) -> Life:
    """A run that has said something and completed."""
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    after, facts = life.completed()
    await life.go(after, facts, lease=None, at=at)
    return life


async def logged(store: Store, life: Life) -> int:
    return len(await store.facts(life.id, after_seq=0, limit=MANY))


async def test_the_log_is_read_from_any_fact_on_and_in_pages_of_any_size(store: Store) -> None:
    life, other = await ended(store), await ended(store)
    whole = await store.facts(life.id, after_seq=0, limit=MANY)
    assert [fact.seq for fact in whole] == list(range(1, FACTS + 1))
    assert len({fact.event for fact in whole}) == FACTS
    for after_seq in range(FACTS + 2):
        for limit in range(1, FACTS + 1):
            page = await store.facts(life.id, after_seq=after_seq, limit=limit)
            assert page == whole[after_seq : after_seq + limit]
    assert await logged(store, other) == FACTS


async def test_the_facts_of_an_ended_run_go_when_their_time_is_over_and_nothing_else(store: Store) -> None:
    life = await ended(store)
    before = await store.run(life.id)
    assert not await store.prune(NOON - 1, limit=MANY)
    assert await logged(store, life) == FACTS
    assert not await store.prune(NOON, limit=MANY)
    assert await logged(store, life) == 0
    assert await store.run(life.id) == before
    assert len(await store.steps(life.id)) == 1
    assert len((await store.page("message", PROJECT, life.thread_id, ALL)).ids) == 1


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
async def test_a_run_that_has_not_ended_keeps_its_facts(store: Store, status: RunStatus) -> None:
    life = await Life.begin(store, await begun_thread(store))
    if status != "queued":
        await life.claim(Lease(owner="w1", until=NOON + 15.0))
    if status not in ("queued", "in_progress"):
        await life.end(status)
    kept = await logged(store, life)
    assert not await store.prune(NOON + 10**9, limit=MANY)
    assert await logged(store, life) == kept > 0


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "cancelled", "expired"])
async def test_however_a_run_ends_its_facts_go(store: Store, status: RunStatus) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.end(status)
    await store.prune(NOON + 10**9, limit=MANY)
    assert await logged(store, life) == 0


async def test_a_call_deletes_a_bounded_number_oldest_end_first_and_says_whether_there_is_more(store: Store) -> None:
    late, early, between = [await ended(store, NOON + seconds) for seconds in (30, 10, 20)]
    told = []
    for _ in range(3):
        more = await store.prune(NOON + 60, limit=FACTS + 1)
        told.append((more, [await logged(store, life) for life in (early, between, late)]))
    assert told == [(True, [0, 0, FACTS]), (False, [0, 0, 0]), (False, [0, 0, 0])]


async def test_a_run_is_pruned_once(store: Store) -> None:
    await ended(store)
    assert await store.prune(NOON, limit=1), "there may be more"
    assert not await store.prune(NOON, limit=1)
