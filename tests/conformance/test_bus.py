"""What every bus must do. One engine exists: the memory of one process."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from understudy.bus.memory import MemoryBus
from understudy.core.ids import RunId
from understudy.core.limits import BUS_BYTES_MAX, BUS_KEEP_SECONDS, BUS_RUN_BYTES_MAX
from understudy.ports import Bus, Frame

RUN = RunId("run_A")


class Watch:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture(params=["memory"])
async def bus(request: pytest.FixtureRequest, watch: Watch) -> AsyncIterator[Bus]:
    made = MemoryBus(watch)
    yield made
    await made.close()


def fact(seq: int, event: str = "thread.run.in_progress") -> Frame:
    return Frame(seq, event, b"%d" % seq)


def delta(text: bytes) -> Frame:
    return Frame(None, "thread.message.delta", text)


async def test_a_follower_that_comes_late_gets_everything_from_the_start(bus: Bus) -> None:
    bus.publish(RUN, [fact(1), fact(2)])
    bus.publish(RUN, [delta(b"a")])
    follower = bus.follow(RUN)
    assert follower.held_from == 1
    assert [frame.data for frame in await follower.next()] == [b"1", b"2", b"a"]
    bus.publish(RUN, [delta(b"b")])
    assert [frame.data for frame in await follower.next()] == [b"b"]


async def test_a_waiting_follower_wakes_when_something_is_published(bus: Bus) -> None:
    follower = bus.follow(RUN)
    assert follower.held_from is None
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    bus.publish(RUN, [fact(1)])
    assert [frame.seq for frame in await waiting] == [1]


async def test_followers_do_not_take_from_one_another(bus: Bus) -> None:
    one, two = bus.follow(RUN), bus.follow(RUN)
    bus.publish(RUN, [fact(1), fact(2)])
    assert len(await one.next()) == 2
    assert len(await two.next()) == 2


async def test_what_is_forgotten_reaches_no_later_follower_and_those_there_go_on_at_the_next_fact(bus: Bus) -> None:
    follower = bus.follow(RUN)
    bus.publish(RUN, [fact(1), delta(b"a")])
    assert len(await follower.next()) == 2
    bus.publish(RUN, [delta(b"b")])
    bus.forget(RUN)
    assert bus.follow(RUN).held_from is None
    bus.publish(RUN, [delta(b"c"), fact(2), delta(b"d")])
    assert [frame.data for frame in await follower.next()] == [b"2", b"d"]


async def test_only_what_is_older_than_its_discard_is_forgotten(bus: Bus) -> None:
    bus.publish(RUN, [fact(5), fact(6)])
    bus.forget(RUN, before=5)
    assert bus.follow(RUN).held_from == 5
    bus.forget(RUN, before=7)
    assert bus.follow(RUN).held_from is None


async def test_closing_a_follower_ends_its_wait(bus: Bus) -> None:
    follower = bus.follow(RUN)
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    follower.close()
    assert await waiting == ()
    assert await follower.next() == ()


async def test_a_nudge_breaks_one_wait_and_closes_nothing(bus: Bus) -> None:
    follower = bus.follow(RUN)
    follower.nudge()
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    follower.nudge()
    assert await waiting == ()
    assert not follower.closed
    bus.publish(RUN, [fact(1)])
    assert [frame.seq for frame in await follower.next()] == [1]


async def test_retiring_a_run_closes_its_followers(bus: Bus) -> None:
    follower = bus.follow(RUN)
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    bus.retire(RUN)
    assert await waiting == ()


async def test_runs_that_rest_are_kept_for_a_while(bus: Bus, watch: Watch) -> None:
    bus.publish(RUN, [fact(1, "thread.run.completed")])
    watch.now += BUS_KEEP_SECONDS - 1
    bus.publish(RunId("run_B"), [fact(1, "thread.run.completed")])
    assert bus.follow(RUN).held_from == 1


async def test_a_resting_run_without_readers_is_forgotten_in_the_end(bus: Bus, watch: Watch) -> None:
    bus.publish(RUN, [fact(1, "thread.run.completed")])
    watch.now += BUS_KEEP_SECONDS + 1
    bus.publish(RunId("run_B"), [fact(1, "thread.run.completed")])
    assert bus.follow(RUN).held_from is None


async def test_a_run_that_goes_on_elsewhere_is_forgotten_too(bus: Bus, watch: Watch) -> None:
    bus.publish(RUN, [fact(1)])
    watch.now += BUS_KEEP_SECONDS + 1
    bus.publish(RunId("run_B"), [fact(1)])
    assert bus.follow(RUN).held_from is None


async def test_a_run_with_readers_is_kept(bus: Bus, watch: Watch) -> None:
    reader = bus.follow(RUN)
    bus.publish(RUN, [fact(1)])
    watch.now += BUS_KEEP_SECONDS + 1
    bus.publish(RunId("run_B"), [fact(1)])
    bus.publish(RUN, [delta(b"a")])
    assert [frame.data for frame in await reader.next()] == [b"1", b"a"]


async def test_deltas_of_a_retired_run_are_not_kept(bus: Bus) -> None:
    bus.publish(RUN, [fact(1)])
    bus.retire(RUN)
    bus.publish(RUN, [delta(b"a")])
    bus.publish(RUN, [fact(2)])
    late = bus.follow(RUN)
    assert late.held_from == 2
    assert [frame.data for frame in await late.next()] == [b"2"]


async def test_a_slow_follower_goes_on_at_a_fact(bus: Bus) -> None:
    slow = bus.follow(RUN)
    piece = b"x" * (BUS_RUN_BYTES_MAX // 4)
    bus.publish(RUN, [fact(1), *(delta(piece) for _ in range(5))])
    bus.publish(RUN, [delta(b"a")])
    waiting = asyncio.create_task(slow.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    bus.publish(RUN, [fact(2), delta(b"b")])
    assert [frame.data for frame in await waiting] == [b"2", b"b"]


async def test_a_run_too_large_for_memory_drops_its_oldest_frames(bus: Bus) -> None:
    reader = bus.follow(RUN)
    bus.publish(RUN, [fact(1)])
    assert len(await reader.next()) == 1
    piece = b"x" * (BUS_RUN_BYTES_MAX // 8)
    taken = 0
    for number in range(2, 20):
        bus.publish(RUN, [Frame(number, "thread.message.created", piece)])
        taken += len(await reader.next())
    assert taken == 18, "a reader that keeps up misses nothing"
    held = bus.follow(RUN).held_from
    assert held is not None
    assert held > 1


async def test_a_wake_between_two_waits_is_not_lost(bus: Bus) -> None:
    bus.wake()
    await asyncio.wait_for(bus.wait_for_work(60), 1)
    await asyncio.wait_for(bus.wait_for_work(0.001), 1)


async def test_interrupts_reach_those_who_listen_to_that_run_until_they_stop(bus: Bus) -> None:
    heard: list[str] = []
    stop = bus.on_interrupt(RUN, lambda: heard.append("one"))
    bus.on_interrupt(RUN, lambda: heard.append("two"))
    bus.interrupt(RUN)
    bus.interrupt(RunId("run_B"))
    stop()
    bus.interrupt(RUN)
    assert heard == ["one", "two", "two"]


async def test_all_runs_together_stay_within_bounds_and_those_that_are_read_stay(bus: Bus) -> None:
    piece = b"x" * (BUS_RUN_BYTES_MAX // 2)
    read = bus.follow(RunId("run_0"))
    for number in range(40):
        bus.publish(RunId(f"run_{number}"), [Frame(1, "thread.run.completed", piece)])
    held = [number for number in range(40) if bus.follow(RunId(f"run_{number}")).held_from is not None]
    assert held[0] == 0
    assert held[-1] == 39
    assert len(held) * len(piece) <= BUS_BYTES_MAX
    assert len(await read.next()) == 1


class Taker:
    """Takes what it is offered, as long as it is `willing`."""

    def __init__(self) -> None:
        self.willing = True
        self.taken: list[bytes] = []

    def __call__(self, frames: Sequence[Frame]) -> bool:
        if self.willing:
            self.taken += [frame.data for frame in frames]
        return self.willing


async def test_what_is_published_while_a_follower_waits_can_be_taken_at_once(bus: Bus) -> None:
    follower, take = bus.follow(RUN), Taker()
    bus.publish(RUN, [fact(1)])
    assert [frame.seq for frame in await follower.next(take)] == [1], "what there was before the wait is not offered"
    waiting = asyncio.create_task(follower.next(take))
    await asyncio.sleep(0)
    bus.publish(RUN, [fact(2)])
    assert take.taken == [b"2"]
    bus.publish(RUN, [delta(b"a"), delta(b"b")])
    assert take.taken == [b"2", b"a", b"b"]
    assert not waiting.done()
    follower.close()
    assert await waiting == ()


async def test_what_is_not_taken_at_once_is_given_with_what_follows(bus: Bus) -> None:
    follower, take = bus.follow(RUN), Taker()
    waiting = asyncio.create_task(follower.next(take))
    await asyncio.sleep(0)
    bus.publish(RUN, [fact(1)])
    take.willing = False
    bus.publish(RUN, [fact(2)])
    take.willing = True
    bus.publish(RUN, [delta(b"a")])
    assert [frame.data for frame in await waiting] == [b"2", b"a"]
    assert take.taken == [b"1"]


async def test_a_follower_that_fails_to_take_hears_of_it_and_nobody_else_does(bus: Bus) -> None:
    def fail(frames: Sequence[Frame]) -> bool:
        raise ValueError(f"{len(frames)} frames")

    other = bus.follow(RUN)
    waiting = asyncio.create_task(bus.follow(RUN).next(fail))
    await asyncio.sleep(0)
    bus.publish(RUN, [fact(1)])
    assert [frame.seq for frame in await other.next()] == [1]
    with pytest.raises(ValueError, match="1 frames"):
        await waiting


async def test_nothing_is_offered_to_a_follower_whose_wait_was_cancelled(bus: Bus) -> None:
    follower, take = bus.follow(RUN), Taker()
    waiting = asyncio.create_task(follower.next(take))
    await asyncio.sleep(0)
    waiting.cancel()
    bus.publish(RUN, [fact(1)])
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not take.taken
    assert [frame.seq for frame in await follower.next()] == [1]
