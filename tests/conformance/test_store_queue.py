"""Runs that wait for a busy thread: first come, first served, and never two at a time."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.store import (
    ENGINES,
    NOON,
    PROJECT,
    Life,
    begun_thread,
    claimable,
    message,
    new_run,
    open_engine,
    patient_run,
    refusal,
    run,
)
from understudy.core.run.state import RunFact, RunState
from understudy.ports import Begun, Lease, PageQuery, Store, StoredRun, ThreadBusy, ThreadFull
from understudy.store import messages as message_operations
from understudy.store import runs as run_operations
from understudy.wire.runs import RunStatus

ALL = PageQuery(limit=100, descending=False)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def _line(store: Store, thread_id: str, count: int) -> list[Life]:
    """An active run and those that wait behind it."""
    return [await Life.queue(store, thread_id) for _ in range(count)]


async def test_a_run_that_must_wait_is_written_as_it_waits(store: Store) -> None:
    thread_id = await begun_thread(store)
    active = await Life.begin(store, thread_id)
    working = run(thread_id, status="in_progress", started_at=NOON)
    waits = patient_run(thread_id)
    wanted = replace(
        waits,
        state=RunState(run=replace(working, id=waits.state.run.id)),
        facts=[*waits.facts, RunFact("thread.run.in_progress", working)],
        lease=Lease(owner="w1", until=NOON + 15.0),
    )
    assert wanted.if_busy is not None
    assert await store.add_run(wanted) == Begun(seq=2, waits=True)
    waiting = Life(store, wanted, 2)
    assert await store.run(waiting.id) == StoredRun(
        project=PROJECT, state=wanted.if_busy.after, settings=wanted.settings, seq=2, lease=None
    )
    logged = await store.facts(waiting.id, after_seq=0, limit=10)
    assert [fact.event for fact in logged] == ["thread.run.created", "thread.run.queued"]
    assert (await store.page("run", PROJECT, thread_id, ALL)).ids == [active.id, waiting.id]
    assert await claimable(store, NOON + 999) == [active.id]


async def test_a_run_that_need_not_wait_is_written_as_it_begins(store: Store) -> None:
    lease = Lease(owner="w1", until=NOON + 15.0)
    new = patient_run(await begun_thread(store), lease=lease)
    assert await store.add_run(new) == Begun(seq=2)
    stored = await store.run(Life(store, new, 2).id)
    assert stored is not None
    assert stored.lease == lease


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "cancelled", "expired"])
async def test_however_a_run_ends_the_next_one_has_its_turn(store: Store, status: RunStatus) -> None:
    line = await _line(store, await begun_thread(store), 4)
    for ending, following in itertools.pairwise(line):
        assert await claimable(store) == [ending.id]
        await ending.claim()
        assert ending.released is None
        assert await ending.end(status) == following.id
    assert await line[-1].end(status) is None
    assert await claimable(store) == []


async def test_a_run_that_rests_keeps_its_thread(store: Store) -> None:
    first, second = await _line(store, await begun_thread(store), 2)
    await first.claim()
    for status in ("requires_action", "queued", "in_progress", "cancelling"):
        assert await first.end(status) is None
    assert await claimable(store) == [first.id]
    assert await first.end("cancelled") == second.id


async def test_a_run_that_ends_while_it_waits_moves_nobody_up(store: Store) -> None:
    first, second, third, fourth = await _line(store, await begun_thread(store), 4)
    assert await third.end("cancelled") is None
    assert await second.end("expired") is None
    assert await claimable(store) == [first.id]
    assert await first.end() == fourth.id
    assert await claimable(store) == [fourth.id]


async def test_waiting_does_not_prolong_a_runs_life(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.begin(store, thread_id, lease=Lease(owner="w1", until=NOON + 9999.0))
    second = await Life.queue(store, thread_id)
    assert await store.expired(NOON + 599, limit=10) == []
    assert await store.expired(NOON + 600, limit=10) == [second.id]
    assert await first.end() == second.id


async def test_who_does_not_want_to_wait_is_told_the_active_run(store: Store) -> None:
    thread_id = await begun_thread(store)
    first, second = await _line(store, thread_id, 2)
    busy = await refusal(ThreadBusy, store.add_run(new_run(thread_id)))
    assert busy.run_id == first.id
    await first.end()
    busy = await refusal(ThreadBusy, store.add_run(new_run(thread_id)))
    assert busy.run_id == second.id
    busy = await refusal(ThreadBusy, store.add_message(PROJECT, message(thread_id)))
    assert busy.run_id == second.id
    await second.end()
    await store.add_message(PROJECT, message(thread_id))
    await Life.begin(store, thread_id)


async def test_the_line_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_operations, "WAITING_RUNS_PER_THREAD_MAX", 2)
    thread_id = await begun_thread(store)
    first, _, third = await _line(store, thread_id, 3)
    busy = await refusal(ThreadBusy, store.add_run(patient_run(thread_id)))
    assert busy.run_id == first.id
    await third.end("cancelled")
    await Life.queue(store, thread_id)


async def test_the_lines_of_two_threads_know_nothing_of_each_other(store: Store) -> None:
    one = await _line(store, await begun_thread(store), 2)
    two = await _line(store, await begun_thread(store), 2)
    assert await one[0].end() == one[1].id
    assert await claimable(store) == [one[1].id]
    await one[1].claim(Lease(owner="w1", until=NOON + 15.0))
    assert await claimable(store) == [two[0].id]


async def test_a_deleted_thread_takes_its_line_along(store: Store) -> None:
    thread_id = await begun_thread(store)
    line = await _line(store, thread_id, 3)
    await store.add_message(PROJECT, message(thread_id), queue=True)
    ended = await Life.queue(store, thread_id)
    await ended.end("cancelled")
    assert await store.delete_thread(PROJECT, thread_id) == [life.id for life in line]
    assert [await store.run(life.id) for life in line] == [None] * 3
    assert await claimable(store) == []


async def test_a_full_thread_takes_no_messages_of_waiting_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_operations, "MESSAGES_PER_THREAD_MAX", 2)
    thread_id = await begun_thread(store)
    await Life.begin(store, thread_id, messages=[message(thread_id)])
    await refusal(ThreadFull, store.add_run(patient_run(thread_id, messages=[message(thread_id)] * 2)))
    await store.add_message(PROJECT, message(thread_id), queue=True)
    await refusal(ThreadFull, store.add_message(PROJECT, message(thread_id), queue=True))
    assert len((await store.page("run", PROJECT, thread_id, ALL)).ids) == 1
    await Life.queue(store, thread_id)


async def test_of_twenty_runs_begun_at_once_all_have_their_turn_in_the_order_of_the_list(store: Store) -> None:
    thread_id = await begun_thread(store)
    lives = await asyncio.gather(*(Life.queue(store, thread_id) for _ in range(20)))
    by_id = {life.id: life for life in lives}
    served = await claimable(store)
    while (following := await by_id[served[-1]].end()) is not None:
        served = [*served, following]
    assert served == (await store.page("run", PROJECT, thread_id, ALL)).ids
    assert len(served) == 20


async def test_nobody_is_forgotten_who_joins_while_the_line_moves(store: Store) -> None:
    thread_id = await begun_thread(store)
    lives = await _line(store, thread_id, 1)
    for _ in range(20):
        (active,) = await claimable(store)
        ending = next(life for life in lives if life.id == active)
        joined, _, too = await asyncio.gather(Life.queue(store, thread_id), ending.end(), Life.queue(store, thread_id))
        lives += [joined, too]
    ended = 20
    while active_ids := await claimable(store):
        await next(life for life in lives if life.id == active_ids[0]).end()
        ended += 1
    assert ended == len(lives) == 41


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_line_is_there_when_the_store_is_opened_again(engine: str, tmp_path: Path) -> None:
    async with open_engine(engine, tmp_path) as store:
        line = await _line(store, await begun_thread(store), 2)
    async with open_engine(engine, tmp_path) as store:
        assert await claimable(store) == [line[0].id]
        line[0]._store = store
        assert await line[0].end() == line[1].id
