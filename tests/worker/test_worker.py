"""Who works on which run: places, leases, take-overs, and what a worker leaves behind when it stops."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from support.house import PROJECT, WEATHER, FaultyStore, House, open_house, thread_id
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.readable import check_readable
from support.talk import polled
from understudy.core.ids import RunId
from understudy.ports import Lease
from understudy.wire.runs import Run

# A worker that does nothing by itself, and one that looks for work. Leases run out when a test says so.
NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
LOOKING = {**NEVER, "sweep_seconds": 0.01}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


async def check_log(house: House, run: Run) -> list[str]:
    """The names of the run's facts, which make a stream that the SDKs can read."""
    facts = await house.facts(run)
    check_readable([(fact.event, msgspec.json.decode(fact.data)) for fact in facts])
    return [fact.event for fact in facts]


async def lapse(house: House, run: Run) -> None:
    """Lets the run's lease run out, until somebody else has the run."""

    async def look() -> bool | None:
        return None if await house.store.renew("w1", [RunId(run.id)], 0.0) else True

    await polled(look)


async def until_idle(house: House) -> None:
    """Returns once the worker has nothing in its hands."""

    async def look() -> bool | None:
        return None if house.worker._working else True

    await polled(look)


# --- places


async def test_a_run_begins_at_once_where_there_is_a_place(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, **NEVER) as house:
        run = await house.start_run()
        assert (await house.stored(run)).state.run.status in ("in_progress", "completed")
        assert run.status == "queued"
        await house.until(run, "completed")


async def test_a_full_desk_leaves_runs_queued_and_takes_them_in_order_when_there_is_room(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, places=1, **NEVER) as house:
        gate = asyncio.Event()
        model.script(Reply(Silence(gate), "First."), Reply("Second."), Reply("Third."))
        runs = [await house.start_run() for _ in range(3)]
        await model.until(lambda: len(model.chats) == 1)
        assert [(await house.stored(run)).state.run.status for run in runs] == ["in_progress", "queued", "queued"]
        gate.set()
        for run, said in zip(runs, ("First.", "Second.", "Third."), strict=True):
            await house.until(run, "completed")
            assert await house.said(run) == [said]


async def test_a_place_given_back_unused_goes_to_a_run_that_waits(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, places=1, **NEVER) as house:
        assert house.worker.reserve(None) is not None
        run = await house.start_run()
        await asyncio.sleep(0.01)
        assert (await house.stored(run)).state.run.status == "queued"
        house.worker.release()
        await house.until(run, "completed")


async def test_a_process_without_a_worker_leaves_its_runs_to_another_process(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, works=False) as front:
        runs = [await front.start_run() for _ in range(3)]
        assert {(await front.stored(run)).state.run.status for run in runs} == {"queued"}
        async with open_house(tmp_path, model, owner="w2", **LOOKING):
            for run in runs:
                await front.until(run, "completed")
            later = await front.start_run()
            await front.until(later, "completed")
    assert len(model.chats) == 4


async def test_many_runs_in_front_of_two_workers_are_each_worked_on_once(model: ScriptedModel, tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, model, works=False) as front,
        open_house(tmp_path, model, owner="w2", **LOOKING) as one,
        open_house(tmp_path, model, owner="w3", **LOOKING) as two,
    ):
        runs = [await front.start_run() for _ in range(25)]
        for run in runs:
            await front.until(run, "completed")
            assert len(await front.said(run)) == 1
        assert len(model.chats) == 25
        for worker in (one, two):
            await until_idle(worker)


# --- leases


async def test_a_lease_is_renewed_for_as_long_as_the_run_is_worked_on(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, lease_seconds=600.0, renew_seconds=0.01) as house:
        gate = asyncio.Event()
        model.script(Reply("Half", Silence(gate), " done."))
        run = await house.start_run()
        for _ in range(3):
            before = await house.lease(run)

            async def look(before: Lease = before) -> bool | None:
                return True if (await house.lease(run)).until > before.until else None

            await polled(look)
        gate.set()
        await house.until(run, "completed")
        assert await house.said(run) == ["Half done."]


async def test_a_run_whose_worker_died_is_taken_over_and_told_anew(model: ScriptedModel, tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, model, **NEVER) as lost,
        open_house(tmp_path, model, owner="w2", **LOOKING) as taker,
    ):
        model.script(Reply("Half", Silence()), Reply("Whole."))
        run = await lost.start_run()
        await lost.until_it_speaks(run)
        await lost.die()
        await model.until(lambda: model.disconnects == 1)
        await lapse(taker, run)
        ended = await taker.until(run, "completed")
        assert await taker.said(run) == ["Whole."]
        assert len(await taker.store.steps(RunId(run.id))) == 1
        assert (await check_log(taker, run)).count("discarded") == 1
        assert ended.usage is not None
        assert ended.usage.total_tokens == 30


async def test_a_turn_behind_tool_outputs_is_taken_over_with_them(model: ScriptedModel, tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, model, **NEVER) as lost,
        open_house(tmp_path, model, owner="w2", **LOOKING) as taker,
    ):
        model.script(Reply(Call("call_a", "weather", "{}")), Reply("We", Silence()), Reply("Wet."))
        run = await lost.start_run(tools=[WEATHER])
        await lost.until(run, "requires_action")
        await lost.submit(run, call_a="Rain")
        await lost.until_it_speaks(run)
        await lost.die()
        await lapse(taker, run)
        ended = await taker.until(run, "completed")
        assert await taker.said(run) == ["Wet."]
        assert ended.usage is not None
        assert ended.usage.total_tokens == 60
        assert model.chats[2].body == model.chats[1].body


async def test_a_run_whose_worker_died_while_it_was_cancelled_is_cancelled(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, **NEVER) as lost:
        model.script(Reply("Half", Silence()))
        run = await lost.start_run()
        await lost.until_it_speaks(run)
        await lost.die()
        async with open_house(tmp_path, model, works=False) as front:
            assert (await front.cancel(run)).status == "cancelling"
            async with open_house(tmp_path, model, owner="w2", **LOOKING):
                await lapse(front, run)
                await front.until(run, "cancelled")
            assert await front.said(run) == []
            await check_log(front, run)


async def test_a_run_whose_worker_died_expires_in_time(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, **NEVER) as lost:
        model.script(Reply("Half", Silence()))
        run = await lost.start_run()
        await lost.until_it_speaks(run)
        await lost.die()
        later = lost.clock() + 601
        async with open_house(tmp_path, model, places=0, owner="w2", clock=lambda: later, **LOOKING) as sweeper:
            await sweeper.until(run, "expired")
            assert (await check_log(sweeper, run))[-2:] == ["discarded", "thread.run.expired"]
            found = await sweeper.store.recent_messages(thread_id(run), before=None, limit=10)
            assert [one.message.role for one in found] == ["user"], "nobody knows what the open message said"


async def test_who_lost_a_lease_hears_of_it_at_the_next_renewal(model: ScriptedModel, tmp_path: Path) -> None:
    """It lets the model server go, although that says nothing, and nothing is said twice."""
    async with (
        open_house(tmp_path, model, **{**NEVER, "renew_seconds": 0.2}) as slow,
        open_house(tmp_path, model, owner="w2", **LOOKING) as taker,
    ):
        model.script(Reply("Half", Silence()), Reply("Whole."))
        run = await slow.start_run()
        await slow.until_it_speaks(run)
        await lapse(taker, run)
        await taker.until(run, "completed")
        await model.until(lambda: model.disconnects == 1)
        assert await taker.said(run) == ["Whole."]


async def test_a_cancel_through_another_process_is_heard_of_at_the_next_renewal(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with (
        open_house(tmp_path, model, **{**NEVER, "renew_seconds": 0.02}) as house,
        open_house(tmp_path, model, works=False) as front,
    ):
        model.script(Reply("Half", Silence()))
        run = await house.start_run()
        await house.until_it_speaks(run)
        await front.cancel(run)
        await house.until(run, "cancelled")
        await model.until(lambda: model.disconnects == 1)
        assert await house.said(run) == ["Half"]


async def test_an_own_lease_that_ran_out_stops_neither_its_run_nor_the_claims_of_others(
    model: ScriptedModel, tmp_path: Path
) -> None:
    """As after a laptop's sleep: the run is found claimable by the very worker that works on it."""
    asleep = {"lease_seconds": 0.01, "renew_seconds": 600.0, "sweep_seconds": 0.01}
    async with (
        open_house(tmp_path, model, places=2, **asleep) as house,
        open_house(tmp_path, model, works=False) as front,
    ):
        gate = asyncio.Event()
        model.script(Reply("Half", Silence(gate), " done."), Reply("Other."))
        run = await house.start_run()
        await house.until_it_speaks(run)
        other = await front.start_run()
        await house.until(other, "completed")
        gate.set()
        await house.until(run, "completed")
        assert await house.said(run) == ["Half done."]


class SlowRenewal(FaultyStore):
    """Answers a renewal only when told to, and as if the run had been between two turns."""

    asked = asyncio.Event()
    answer = asyncio.Event()

    async def renew(self, *_: object) -> Sequence[RunId]:
        self.asked.set()
        await self.answer.wait()
        return ()


async def test_a_renewal_that_is_answered_late_does_not_disturb_the_runs_next_turn(
    model: ScriptedModel, tmp_path: Path
) -> None:
    SlowRenewal.asked, SlowRenewal.answer = asyncio.Event(), asyncio.Event()
    once = {"lease_seconds": 600.0, "renew_seconds": 0.05, "sweep_seconds": 600.0}
    async with open_house(tmp_path, model, store=SlowRenewal, **once) as house:
        first, second = asyncio.Event(), asyncio.Event()
        model.script(Reply(Silence(first), Call("call_a", "weather", "{}")), Reply(Silence(second), "Wet."))
        run = await house.start_run(tools=[WEATHER])
        await SlowRenewal.asked.wait()
        first.set()
        await house.until(run, "requires_action")
        await house.submit(run, call_a="Rain")
        await model.until(lambda: len(model.chats) == 2)
        SlowRenewal.answer.set()
        await asyncio.sleep(0.01)  # what is to be seen is that nothing happens
        second.set()
        ended = await house.until(run, "completed", "failed")
        assert ended.status == "completed"


# --- stopping


async def test_a_stopped_worker_hands_its_runs_on_at_once(model: ScriptedModel, tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, model, **NEVER) as stopped,
        open_house(tmp_path, model, owner="w2", **LOOKING) as taker,
    ):
        model.script(Reply("Half", Silence()), Reply(Silence(before_headers=True)), Reply("Whole."), Reply("Whole."))
        speaking = await stopped.start_run()
        await stopped.until_it_speaks(speaking)
        silent = await stopped.start_run()
        await model.until(lambda: len(model.chats) == 2)
        await stopped.stop()
        for run in (speaking, silent):
            await taker.until(run, "completed")
            assert await taker.said(run) == ["Whole."]
            await check_log(taker, run)


async def test_a_cancelled_run_ends_with_the_worker_that_stops_and_leaves_no_empty_message(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, **NEVER) as stopped, open_house(tmp_path, model, works=False) as front:
        model.script(Reply("Half", Silence()))
        run = await stopped.start_run()
        await stopped.until_it_speaks(run)
        assert (await front.cancel(run)).status == "cancelling"
        await stopped.stop()
        await front.until(run, "cancelled")
        found = await front.store.recent_messages(thread_id(run), before=None, limit=10)
        assert [one.message.role for one in found] == ["user"]


async def test_of_two_workers_one_takes_a_run_that_was_handed_back(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, **NEVER) as stopped:
        model.script(*[Reply(Silence(before_headers=True))] * 8)
        runs = [await stopped.start_run() for _ in range(8)]
        await model.until(lambda: len(model.chats) == 8)
        await stopped.stop()
        async with (
            open_house(tmp_path, model, owner="w2", **LOOKING) as taker,
            open_house(tmp_path, model, owner="w3", **LOOKING),
        ):
            for run in runs:
                await taker.until(run, "completed")
    assert len(model.chats) == 16


async def test_a_stopped_worker_takes_nothing_new(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, **NEVER) as house:
        lease = house.worker.reserve(None)
        assert lease is not None
        waiting = await house.start_run()
        await house.until(waiting, "completed")
        await house.stop()
        assert house.worker.reserve(None) is None
        house.worker.begin(await house.stored(waiting))
        assert not house.worker._working
        run = await house.start_run()
        assert (await house.stored(run)).state.run.status == "queued"


async def test_what_is_claimed_while_the_worker_stops_is_handed_on_too(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, works=False) as front:
        for moment in range(10):
            runs = [await front.start_run() for _ in range(3)]
            model.script(*[Reply(Silence())] * 3)
            async with open_house(tmp_path, model, owner=f"w{moment}", **NEVER) as house:
                house.bus.wake()
                for _ in range(moment):
                    await asyncio.sleep(0)
            for run in runs:
                stored = await front.stored(run)
                assert stored.lease is None or stored.lease.until <= front.clock(), stored.state.run.status
                await front.cancel(run)
            model.forget()


async def test_a_chore_that_fails_is_tried_again(model: ScriptedModel, tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, model, **LOOKING) as house,
        open_house(tmp_path, model, works=False) as front,
    ):
        house.store.broken = True
        run = await front.start_run()
        await asyncio.sleep(0.03)  # some looks in vain
        assert (await front.stored(run)).state.run.status == "queued"
        house.store.broken = False
        await front.until(run, "completed")


async def test_a_run_that_is_deleted_frees_its_place(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, places=1, **NEVER) as house:
        model.script(Reply("Half", Silence()), Reply("Next."))
        run = await house.start_run()
        await house.until_it_speaks(run)
        stopped = await house.store.delete_thread(PROJECT, run.thread_id)
        assert stopped == [run.id]
        house.bus.interrupt(RunId(run.id))
        house.bus.retire(RunId(run.id))
        await model.until(lambda: model.disconnects == 1)
        await house.until(await house.start_run(), "completed")
        await until_idle(house)
