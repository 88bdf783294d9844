"""Lines of queued runs, one for each project, and bounds that are never exceeded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.lines import begin, claim, in_line, queue, share, working_run
from support.store import ENGINES, NOON, Life, begun_thread, open_engine, refusal
from understudy.core.ids import ProjectId
from understudy.ports import Bounds, Line, NoPlace, Share, Store, ThreadBusy
from understudy.wire.runs import RunStatus

BOUND = pytest.mark.parametrize("of", [share(), share(upstream="gpu")], ids=["project", "upstream"])


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


# --- lines


async def test_each_project_has_a_line_and_the_first_of_it_is_its_oldest(store: Store) -> None:
    busy = [await queue(store, share("proj_a")) for _ in range(3)]
    other = [await queue(store, share("proj_b")) for _ in range(2)]
    third = await queue(store, share("proj_0"))
    assert list(await in_line(store)) == [third.id, busy[0].id, other[0].id]
    await claim(busy[0], share("proj_a", most=None))
    assert list(await in_line(store)) == [third.id, busy[1].id, other[0].id]


async def test_a_projects_runs_wait_in_one_line_for_each_model_server_with_a_bound(store: Store) -> None:
    plain, gpu = share("proj_a", most=None), share("proj_a", upstream="gpu")
    first = [await queue(store, plain), await queue(store, gpu)]
    for of in (plain, gpu):
        await queue(store, of)
    assert list(await in_line(store)) == [life.id for life in first]
    heads = await store.in_line(NOON, limit=10)
    assert [head.line for head in heads] == [Line(plain.project, ""), Line(plain.project, "gpu")]


async def test_lines_are_told_in_parts(store: Store) -> None:
    lives = [await queue(store, share(f"proj_{number}")) for number in range(5)]
    first = await store.in_line(NOON, limit=2)
    second = await store.in_line(NOON, limit=2, behind=first[-1].line)
    rest = await store.in_line(NOON, limit=2, behind=second[-1].line)
    assert [head.run_id for head in [*first, *second, *rest]] == [life.id for life in lives]
    assert [head.seq for head in first] == sorted(head.seq for head in first)
    assert await store.in_line(NOON, limit=2, behind=rest[-1].line) == []


async def test_who_waits_for_a_thread_is_in_no_line_yet(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.queue(store, thread_id)
    second = await Life.queue(store, thread_id)
    assert list(await in_line(store)) == [first.id]
    await first.end()
    assert list(await in_line(store)) == [second.id]


# --- bounds


@BOUND
async def test_over_the_bound_a_run_is_not_begun_and_nothing_of_it_is_written(store: Store, of: Share) -> None:
    for _ in range(2):
        await begin(store, of)
    thread_id = await begun_thread(store)
    await refusal(NoPlace, store.add_run(working_run(thread_id, of)))
    await Life.begin(store, thread_id)  # the thread is not busy
    assert not await store.lost(NOON, limit=10)


@BOUND
async def test_over_the_bound_a_queued_run_is_not_taken_and_stays_as_it_is(store: Store, of: Share) -> None:
    for _ in range(2):
        await begin(store, of)
    waiting = await queue(store, of)
    before = await store.run(waiting.id)
    assert await in_line(store, of) == {waiting.id: False}
    await refusal(NoPlace, claim(waiting, of))
    assert await store.run(waiting.id) == before


@BOUND
@pytest.mark.parametrize("status", ["requires_action", "completed", "failed", "incomplete", "cancelled", "expired"])
async def test_a_run_that_rests_or_ends_gives_its_place_back(store: Store, of: Share, status: RunStatus) -> None:
    one, _ = [await begin(store, of) for _ in range(2)]
    waiting = await queue(store, of)
    await one.end(status)
    assert await in_line(store, of) == {waiting.id: True}
    await claim(waiting, of)
    await refusal(NoPlace, begin(store, of))


@BOUND
async def test_a_run_that_is_being_cancelled_has_its_place_until_its_worker_lets_go(store: Store, of: Share) -> None:
    one, _ = [await begin(store, of) for _ in range(2)]
    await one.go(replace(one.state, run=replace(one.state.run, status="cancelling")), [])
    waiting = await queue(store, of)
    await refusal(NoPlace, claim(waiting, of))
    await one.end("cancelled")
    await claim(waiting, of)


@BOUND
async def test_a_deleted_thread_leaves_its_place(store: Store, of: Share) -> None:
    one, _ = [await begin(store, of) for _ in range(2)]
    waiting = await queue(store, of)
    assert await store.delete_thread(of.project, one.thread_id) == [one.id]
    await claim(waiting, of)


@BOUND
async def test_a_run_that_is_taken_over_keeps_its_place(store: Store, of: Share) -> None:
    lives = [await begin(store, of) for _ in range(2)]
    assert len(await store.lost(NOON + 99_999, limit=10)) == 2
    waiting = await queue(store, of)
    await lives[0].go(lives[0].state, [], lease=None)
    await lives[0].go(lives[0].state, [], lease=None)
    await refusal(NoPlace, claim(waiting, of))


@BOUND
async def test_a_new_run_does_not_overtake_those_in_line_and_an_older_one_does(store: Store, of: Share) -> None:
    older = await begin(store, of)
    await older.end("requires_action")
    waiting = await queue(store, of)
    await refusal(NoPlace, begin(store, of))
    await claim(older, of)
    await claim(waiting, of)
    await refusal(NoPlace, begin(store, of))


async def test_one_projects_bound_is_no_other_projects(store: Store) -> None:
    for _ in range(2):
        await begin(store, share("proj_a"))
    await begin(store, share("proj_b"))
    full, free = await queue(store, share("proj_a")), await queue(store, share("proj_b"))
    assert await in_line(store, share()) == {full.id: False, free.id: True}


async def test_all_projects_share_a_model_servers_bound(store: Store) -> None:
    for project in ("proj_a", "proj_b"):
        await begin(store, share(project, upstream="gpu"))
    await refusal(NoPlace, begin(store, share("proj_c", upstream="gpu")))
    await begin(store, share("proj_c", upstream="cpu"))
    await begin(store, share("proj_a", most=None))


async def test_both_bounds_hold_at_once(store: Store) -> None:
    both = Share(project=ProjectId("proj_a"), upstream="gpu", project_max=2, upstream_max=3)
    other = replace(both, project=ProjectId("proj_b"))
    first, _ = [await begin(store, both) for _ in range(2)]
    await refusal(NoPlace, begin(store, both))
    await begin(store, other)
    await refusal(NoPlace, begin(store, other))
    waiting = await queue(store, other)
    assert [head.has_place for head in await store.in_line(NOON, limit=9, bounds=_bounds(both))] == [False]
    await first.end()
    assert [head.has_place for head in await store.in_line(NOON, limit=9, bounds=_bounds(both))] == [True]
    await claim(waiting, other)


def _bounds(of: Share) -> Bounds:
    assert of.upstream_max is not None
    return Bounds(project_max=of.project_max, upstreams={of.upstream: of.upstream_max})


async def test_a_busy_thread_is_told_before_a_full_bound(store: Store) -> None:
    thread_id = await begun_thread(store)
    await store.add_run(working_run(thread_id, share(most=1)))
    await refusal(ThreadBusy, store.add_run(working_run(thread_id, share(most=1))))


async def test_runs_from_before_there_were_bounds_count_from_their_taking_on(store: Store) -> None:
    lives = [await Life.begin(store, await begun_thread(store)) for _ in range(3)]
    of = share(upstream="gpu")
    for life in lives[:2]:
        await claim(life, of)
    await refusal(NoPlace, claim(lives[2], of))


@BOUND
@pytest.mark.parametrize("engine", ENGINES)
async def test_of_many_who_claim_at_once_in_three_processes_never_too_many_get_a_place(
    engine: str, of: Share, tmp_path: Path
) -> None:
    async with AsyncExitStack() as opened:
        stores = [await opened.enter_async_context(open_engine(engine, tmp_path)) for _ in range(3)]
        lives = [await queue(stores[0], of) for _ in range(12)]

        async def attempt(life: Life, store: Store) -> Life | None:
            try:
                await claim(Life.seen_by(store, life), of)
            except NoPlace:
                return None
            return life

        begun: list[Life] = []
        while len(begun) < len(lives):
            waiting = [life for life in lives if life not in begun]
            found = await asyncio.gather(*(attempt(life, stores[at % 3]) for at, life in enumerate(waiting)))
            new = [life for life in found if life is not None]
            assert len(new) == min(2, len(waiting))
            begun += new
            for life in new:
                await stores[0].delete_thread(of.project, life.thread_id)


@BOUND
@pytest.mark.parametrize("engine", ENGINES)
async def test_of_many_runs_begun_at_once_in_two_processes_never_too_many_get_a_place(
    engine: str, of: Share, tmp_path: Path
) -> None:
    async with open_engine(engine, tmp_path) as one, open_engine(engine, tmp_path) as two:
        found = await asyncio.gather(*(begin(store, of) for store in [one, two] * 8), return_exceptions=True)
        assert sum(isinstance(life, Life) for life in found) == 2
        assert all(isinstance(life, Life | NoPlace) for life in found)


# --- what the installation keeps


async def test_what_is_kept_first_stays(store: Store) -> None:
    assert await store.look_up("files") is None
    found = await asyncio.gather(*(store.kept("files", f"place {number}") for number in range(8)))
    assert len(set(found)) == 1
    assert await store.look_up("files") == found[0]
    assert await store.look_up("other") is None
