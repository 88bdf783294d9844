"""A run in the hands of a worker: who may write it, and what becomes of it when that changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from support.house import WEATHER, FaultyStore, House, open_house
from support.model_server import Call, Failure, Reply, ScriptedModel, Silence
from support.readable import check_readable
from support.talk import polled
from understudy.core import errors
from understudy.core.ids import RunId
from understudy.core.run.inputs import Claim
from understudy.core.run.machine import Decision, decide
from understudy.ports import Lease, SeqConflict, StoredMessage, StoredRun

# Nothing of a worker happens by itself: not renewed, not swept, not taken over.
NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def house(model: ScriptedModel, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, model, **NEVER) as opened:
        yield opened


async def claimed(house: House, stored: StoredRun, owner: str) -> StoredRun:
    lease = Lease(owner=owner, until=house.clock() + 600)
    return await house.journal.append(stored, decide(stored.state, Claim(at=int(house.clock()))), lease=lease)


async def test_of_two_workers_that_claim_a_run_one_gets_it(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, works=False) as house:
        stored = await house.stored(await house.start_run())
        outcomes = await asyncio.gather(
            *(claimed(house, stored, owner) for owner in ("w1", "w2")), return_exceptions=True
        )
        winner, loser = outcomes
        assert isinstance(winner, StoredRun)
        assert isinstance(loser, SeqConflict)
        assert await house.stored(winner.state.run) == winner


async def test_two_workers_given_the_same_run_end_it_once(model: ScriptedModel, tmp_path: Path) -> None:
    """Only the owner of the lease can write: the other one lets go, with whatever it heard."""
    async with open_house(tmp_path, model, works=False, owner="w1") as house:
        gate = asyncio.Event()
        model.script(Reply(Silence(gate), "Mine."), Reply(Silence(gate), "Mine too."))
        run = await house.start_run()
        mine = await claimed(house, await house.stored(run), "w1")
        working = [asyncio.create_task(house.loop.work(mine, owner)) for owner in ("w2", "w1")]
        await model.until(lambda: len(model.chats) == 2)
        gate.set()
        await asyncio.gather(*working)
        assert (await house.stored(run)).state.run.status == "completed"
        assert len(await house.said(run)) == 1
        names = [fact.event for fact in await house.facts(run)]
        assert names.count("thread.message.created") == names.count("thread.run.completed") == 1


async def test_who_lost_the_lease_lets_go_at_its_next_word(house: House, model: ScriptedModel) -> None:
    gate = asyncio.Event()
    model.script(Reply("Half", Silence(gate), " done."))
    run = await house.start_run()
    await house.until_it_speaks(run)
    before = await house.stored(run)
    taken = Lease(owner="w2", until=house.clock() + 600)
    await house.journal.append(before, Decision((), before.state), lease=taken)
    gate.set()
    await at_rest(house)
    after = await house.stored(run)
    assert (after.state, after.lease) == (before.state, taken)


async def test_a_run_expires_when_its_timer_says_so_although_the_clock_lags(
    model: ScriptedModel, tmp_path: Path
) -> None:
    begun = int(time.time())
    async with open_house(tmp_path, model, clock=lambda: begun + 0.98, **NEVER) as house:
        model.script(Reply("Once", Silence()))
        run = await house.start_run(lifetime_seconds=1)
        assert (await house.until(run, "expired", "failed")).status == "expired"


async def test_a_run_that_cannot_be_written_is_left_to_its_lease_and_finished_later(
    model: ScriptedModel, tmp_path: Path
) -> None:
    quick = {"lease_seconds": 0.1, "renew_seconds": 600.0, "sweep_seconds": 0.02}
    async with open_house(tmp_path, model, **quick) as house:
        gate = asyncio.Event()
        model.script(Reply("Half", Silence(gate)), Reply("Whole."))
        run = await house.start_run()
        await house.until_it_speaks(run)
        house.store.broken = True
        gate.set()
        await at_rest(house)
        house.store.broken = False
        await house.until(run, "completed")
        assert await house.said(run) == ["Whole."]
        facts = await house.facts(run)
        check_readable([(fact.event, msgspec.json.decode(fact.data)) for fact in facts])
        assert "discarded" in [fact.event for fact in facts]


async def test_a_bug_ends_the_run_as_failed_with_the_vendors_words(model: ScriptedModel, tmp_path: Path) -> None:
    class BuggyStore(FaultyStore):
        async def recent_messages(self, *_: object, **__: object) -> Sequence[StoredMessage]:
            raise ValueError("a bug")

    async with open_house(tmp_path, model, store=BuggyStore, **NEVER) as house:
        ended = await house.until(await house.start_run(), "failed")
    assert ended.last_error is not None
    assert (ended.last_error.code, ended.last_error.message) == ("server_error", errors.SORRY)


@pytest.mark.parametrize(("retry_after", "asked"), [(None, 3), (0.0, 3), (60.0, 1)])
async def test_a_busy_model_server_is_asked_again_when_it_says_so_and_not_sooner(
    house: House, model: ScriptedModel, retry_after: float | None, asked: int
) -> None:
    """A pause that is too long to wait for ends the run at once."""
    model.script(*[Failure(429, "Slow down.", retry_after=retry_after)] * 3)
    ended = await house.until(await house.start_run(), "failed")
    assert ended.last_error is not None
    assert ended.last_error.code == "rate_limit_exceeded"
    assert len(model.chats) == asked


async def test_a_stopped_worker_hands_its_run_back_while_that_is_being_written(
    house: House, model: ScriptedModel
) -> None:
    """The write goes on, and the run is free behind it."""
    for moment in range(12):
        model.script(Reply("Half", Silence()))
        run = await house.start_run()
        task = house.worker._working[RunId(run.id)]
        if moment:
            await model.until(lambda asked=moment: len(model.chats) == asked)  # type: ignore[misc]
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stored = await house.stored(run)
        assert stored.state.run.status == "in_progress"
        assert stored.lease is not None
        assert stored.lease.until <= house.clock()
        await house.cancel(run)


async def test_a_run_being_cancelled_ends_when_its_worker_is_stopped(house: House, model: ScriptedModel) -> None:
    model.script(Reply("Half", Silence()))
    run = await house.start_run()
    await house.until_it_speaks(run)
    asking = asyncio.create_task(house.cancel(run))
    await asyncio.sleep(0)
    await house.stop()
    await asking
    assert (await house.stored(run)).state.run.status == "cancelled"


async def test_each_turn_of_a_run_has_its_own_worker(house: House, model: ScriptedModel) -> None:
    model.script(Reply(Call("call_a", "weather", "{}")), Reply("Wet."))
    run = await house.start_run(tools=[WEATHER])
    await house.until(run, "requires_action")
    assert (await house.stored(run)).lease is None
    await house.submit(run, call_a="Rain")
    await house.until(run, "completed")
    assert (await house.stored(run)).lease is None


async def at_rest(house: House) -> None:
    """Returns once the worker has nothing in its hands."""

    async def look() -> bool | None:
        return None if house.worker._working else True

    await polled(look)
