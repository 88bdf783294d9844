"""Whose run is begun next: no project starves beside a busy one, and no bound is exceeded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from support.house import PROJECT, WEATHER, House, open_house
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.store import OTHER
from support.talk import polled
from understudy.core.ids import ProjectId, RunId
from understudy.ports import Bounds, Line, RunInLine
from understudy.wire.runs import Run
from understudy.worker.turns import Turns

NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
LOOKING = {**NEVER, "sweep_seconds": 0.01}
BOUND = pytest.mark.parametrize(
    "bounds", [Bounds(project_max=2), Bounds(upstreams={"upstream": 2})], ids=["project", "upstream"]
)


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


def first_in_line(project: str, seq: int, upstream: str = "") -> RunInLine:
    return RunInLine(run_id=RunId(f"run_{seq}"), seq=seq, line=Line(ProjectId(project), upstream), has_place=True)


def projects(heads: Sequence[RunInLine]) -> list[str]:
    return [head.line.project for head in heads]


# --- the order


def test_the_oldest_goes_first_where_nobody_was_served_yet() -> None:
    assert projects(Turns().next([first_in_line("a", 2), first_in_line("b", 1)])) == ["b", "a"]


def test_who_has_fewest_runs_here_goes_first_and_the_others_wait() -> None:
    turns = Turns()
    turns.begin(ProjectId("a"))
    assert projects(turns.next([first_in_line("a", 1), first_in_line("b", 2)])) == ["b"]
    turns.begin(ProjectId("b"))
    turns.end(ProjectId("a"))
    assert projects(turns.next([first_in_line("a", 1), first_in_line("b", 2)])) == ["a"]


def test_of_those_with_equally_many_who_was_served_longest_ago_goes_first() -> None:
    turns = Turns()
    for project in ("b", "a", "c"):
        turns.begin(ProjectId(project))
        turns.end(ProjectId(project))
    heads = [first_in_line(project, seq) for seq, project in enumerate("abcd")]
    assert projects(turns.next(heads)) == ["d", "b", "a", "c"]


def test_a_project_with_several_lines_has_one_turn_which_its_oldest_run_takes() -> None:
    heads = [first_in_line("a", 3), first_in_line("a", 1, "gpu"), first_in_line("b", 2)]
    assert [head.seq for head in Turns().next(heads)] == [1, 2]


# --- without bounds


async def test_a_flood_of_one_projects_runs_does_not_hold_another_projects_up(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, places=2, **NEVER) as house:
        gate = asyncio.Event()
        model.script(*[Reply("x", Silence(gate))] * 2)
        for _ in range(200):
            await house.start_run()
        other = await house.start_run(project=OTHER, asks="Me too")
        gate.set()
        await house.until(other, "completed")
        asked = [chat.body["messages"][-1]["content"] for chat in model.chats]
        assert asked.index("Me too") <= 4  # two were being answered, and two more may have begun before it could


async def test_a_request_does_not_take_the_place_that_an_older_run_waits_for(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, places=1, **NEVER) as house:
        gate = asyncio.Event()
        model.script(Reply("x", Silence(gate)))
        for name in ("first", "second", "third"):
            await house.start_run(asks=name)
        await model.until(lambda: len(model.chats) == 1)
        gate.set()
        started = [await house.start_run(asks=f"later {number}") for number in range(20)]
        await house.until(started[-1], "completed")
        asked = [chat.body["messages"][-1]["content"] for chat in model.chats]
        assert asked == ["first", "second", "third", *(f"later {number}" for number in range(20))]


async def test_more_lines_than_are_looked_at_at_once_all_have_their_turn(
    model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.worker.worker.LINES_LOOKED_AT", 3)
    async with open_house(tmp_path, model, places=1, **NEVER) as house:
        gate = asyncio.Event()
        model.script(Reply("x", Silence(gate)))
        runs = [await house.start_run(project=ProjectId(f"proj_{number:02}")) for number in range(8)]
        runs += [await house.start_run(project=ProjectId("proj_00")) for _ in range(5)]
        gate.set()
        for run in runs:
            await house.until(run, "completed")


async def test_a_worker_that_was_full_takes_requests_at_once_again_when_nobody_waits(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, places=1, **NEVER) as house:
        for _ in range(3):
            await house.until(await house.start_run(), "completed")

            async def idle() -> bool | None:
                return None if house.worker._behind else True

            await polled(idle)
            run = await house.start_run()
            assert (await house.stored(run)).state.run.status != "queued"
            await house.until(run, "completed")


# --- with bounds


class Gated:
    """Runs whose answers end when a test says so, each of them on its own."""

    def __init__(self, model: ScriptedModel, count: int) -> None:
        self.model = model
        self._gates = [asyncio.Event() for _ in range(count)]
        self._ended = 0
        model.script(*(Reply("x", Silence(gate)) for gate in self._gates))

    def end_one(self) -> None:
        self._gates[self._ended].set()
        self._ended += 1

    async def are_at_work(self, count: int) -> None:
        """So many beside those that ended; and it stays at that."""
        await self.model.until(lambda: len(self.model.chats) == self._ended + count)
        await asyncio.sleep(0.02)
        assert len(self.model.chats) == self._ended + count


async def ended(house: House, runs: Sequence[Run]) -> None:
    for run in runs:
        await house.until(run, "completed")


@BOUND
async def test_over_the_bound_runs_wait_and_begin_in_order_when_a_place_is_free(
    model: ScriptedModel, tmp_path: Path, bounds: Bounds
) -> None:
    async with open_house(tmp_path, model, bounds=bounds, **NEVER) as house:
        gated = Gated(model, 6)
        runs = [await house.start_run(asks=str(number)) for number in range(6)]
        for _ in range(4):
            await gated.are_at_work(2)
            gated.end_one()
        for _ in range(2):
            gated.end_one()
        await ended(house, runs)
        asked = [chat.body["messages"][-1]["content"] for chat in model.chats]
        assert sorted(asked[:2]) == ["0", "1"]
        assert asked[2:] == ["2", "3", "4", "5"]


@BOUND
async def test_a_bound_holds_over_several_processes_and_a_free_place_is_taken_soon(
    model: ScriptedModel, tmp_path: Path, bounds: Bounds
) -> None:
    async with (
        open_house(tmp_path, model, bounds=bounds, **LOOKING) as one,
        open_house(tmp_path, model, owner="w2", bounds=bounds, **LOOKING) as two,
    ):
        gated = Gated(model, 8)
        runs = [await house.start_run() for house in [one, two] * 4]
        for _ in range(6):
            await gated.are_at_work(2)
            gated.end_one()
        for _ in range(2):
            gated.end_one()
        await ended(one, runs)


async def test_a_run_that_waits_for_outputs_has_no_place_and_goes_on_before_younger_ones(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, bounds=Bounds(project_max=1), **NEVER) as house:
        gate = asyncio.Event()
        model.script(Reply(Call("call_a", "weather", "{}")), Reply("x", Silence(gate)), Reply("Wet."))
        asking = await house.start_run(tools=[WEATHER])
        await house.until(asking, "requires_action")
        working = await house.start_run()
        await model.until(lambda: len(model.chats) == 2)
        younger = await house.start_run()
        await house.submit(asking, call_a="Rain")
        assert (await house.stored(asking)).state.run.status == "queued"
        gate.set()
        await ended(house, [working, asking, younger])
        assert await house.said(asking) == ["Wet."]


async def test_one_projects_bound_leaves_the_other_places_to_the_others(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, places=2, bounds=Bounds(project_max=1), **NEVER) as house:
        gated = Gated(model, 1)
        held = [await house.start_run() for _ in range(5)]
        await gated.are_at_work(1)
        other = await house.start_run(project=OTHER)
        assert (await house.stored(other)).state.run.status != "queued"
        await house.until(other, "completed")
        gated.end_one()
        await ended(house, held)


async def test_a_cancelled_run_and_a_deleted_thread_leave_their_places(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, bounds=Bounds(project_max=1), **NEVER) as house:
        gated = Gated(model, 2)
        first, second, third = [await house.start_run() for _ in range(3)]
        await gated.are_at_work(1)
        await house.cancel(first)
        await house.until(first, "cancelled")
        await model.until(lambda: len(model.chats) == 2)
        assert await house.store.delete_thread(PROJECT, second.thread_id) == [second.id]
        house.bus.interrupt(RunId(second.id))
        await house.until(third, "completed")


async def test_a_lost_workers_runs_keep_their_places_and_are_taken_over_in_them(
    model: ScriptedModel, tmp_path: Path
) -> None:
    bounds = Bounds(project_max=1)
    async with (
        open_house(tmp_path, model, bounds=bounds, **NEVER) as lost,
        open_house(tmp_path, model, owner="w2", bounds=bounds, **LOOKING) as taker,
    ):
        model.script(Reply("Half", Silence()), Reply("Whole."), Reply("Next."))
        first = await lost.start_run()
        await lost.until_it_speaks(first)
        await lost.die()
        second = await taker.start_run()
        await asyncio.sleep(0.03)
        assert (await taker.stored(second)).state.run.status == "queued"
        await taker.store.renew("w1", [RunId(first.id)], 0.0)
        await ended(taker, [first, second])
        assert [await taker.said(run) for run in (first, second)] == [["Whole."], ["Next."]]


async def test_a_worker_that_waits_for_a_bound_does_not_look_all_the_time(
    model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(tmp_path, model, bounds=Bounds(project_max=1), **NEVER) as house:
        gated = Gated(model, 1)
        runs = [await house.start_run() for _ in range(3)]
        await gated.are_at_work(1)
        looks, in_line = 0, house.store.in_line

        async def counted(*args: object, **named: object) -> Sequence[RunInLine]:
            nonlocal looks
            looks += 1
            return await in_line(*args, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(house.store, "in_line", counted)
        await asyncio.sleep(0.3)
        assert looks <= 2
        gated.end_one()
        await ended(house, runs)
