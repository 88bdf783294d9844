"""Which runs a worker should take, which it still holds, and which have outlived their time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.store import ENGINES, NOON, Life, begun_thread, claimable, open_engine
from understudy.core.ids import RunId
from understudy.ports import Lease, Store
from understudy.wire.runs import RunStatus


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def _in_status(store: Store, status: RunStatus, lease: Lease | None = None) -> Life:
    life = await Life.begin(store, await begun_thread(store))
    await life.go(replace(life.state, run=replace(life.state.run, status=status)), [], lease=lease)
    return life


async def test_free_runs_that_were_worked_on_are_lost(store: Store) -> None:
    lives = {status: await _in_status(store, status) for status in ("queued", "in_progress", "cancelling")}
    for status in ("requires_action", "completed", "failed", "cancelled", "incomplete", "expired"):
        await _in_status(store, status)
    lost = [lives["in_progress"].id, lives["cancelling"].id]
    assert set(await store.lost(NOON, limit=10)) == set(lost)
    assert len(await store.lost(NOON, limit=1)) == 1
    assert await claimable(store) == [lives["queued"].id, *await store.lost(NOON, limit=10)]


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling"])
async def test_a_leased_run_is_claimable_when_its_lease_has_run_out(store: Store, status: RunStatus) -> None:
    life = await _in_status(store, status, Lease(owner="w1", until=NOON + 15.0))
    assert await claimable(store, NOON + 14.9) == []
    assert await claimable(store, NOON + 15.0) == [life.id]


async def test_a_run_begun_under_a_lease_is_nobody_elses(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store), lease=Lease(owner="w1", until=NOON + 15.0))
    assert await claimable(store) == []
    assert await store.renew("w1", [life.id], NOON + 30.0) == [life.id]


async def test_renewing_extends_what_is_still_held_and_says_so(store: Store) -> None:
    mine = [await _in_status(store, "in_progress", Lease(owner="w1", until=NOON + 15.0)) for _ in range(3)]
    theirs = await _in_status(store, "in_progress", Lease(owner="w2", until=NOON + 15.0))
    freed = mine.pop()
    await freed.go(freed.state, [], lease=None)
    asked = [mine[0].id, theirs.id, freed.id, mine[1].id, RunId("run_x")]
    assert await store.renew("w1", asked, NOON + 40.0) == [mine[0].id, mine[1].id]
    assert await claimable(store, NOON + 20.0) == [freed.id, theirs.id]
    renewed = await store.run(mine[0].id)
    assert renewed is not None
    assert renewed.lease == Lease(owner="w1", until=NOON + 40.0)
    assert renewed.seq == mine[0].seq
    assert await store.renew("w1", [], NOON + 40.0) == []


async def test_renewing_tells_of_a_cancel_that_another_process_has_written(store: Store) -> None:
    life = await _in_status(store, "cancelling", Lease(owner="w1", until=NOON + 15.0))
    assert await store.renew("w1", [life.id], NOON + 40.0) == []
    assert await claimable(store, NOON + 20.0) == [], "it is the owner's to end"


async def test_active_runs_past_their_time_are_expired_unless_somebody_works_on_them(store: Store) -> None:
    lives = [await _in_status(store, status) for status in ("queued", "in_progress", "requires_action", "cancelling")]
    worked_on = await _in_status(store, "in_progress", Lease(owner="w1", until=NOON + 605.0))
    await _in_status(store, "completed")
    assert await store.expired(NOON + 599, limit=10) == []
    assert await store.expired(NOON + 600, limit=10) == [life.id for life in lives]
    assert await store.expired(NOON + 600, limit=1) == [lives[0].id]
    assert await store.expired(NOON + 605, limit=10) == [*(life.id for life in lives), worked_on.id]
