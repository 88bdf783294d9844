"""A wait can be broken off at any moment, and nothing else is; a cancel from elsewhere is never swallowed."""

import asyncio

import pytest

from understudy.engine.attention import Attention, CalledAway


async def forever() -> None:
    await asyncio.Event().wait()


async def work(began: asyncio.Future[Attention], *, seconds: float = 60) -> str:
    """A task that waits for ever, and what becomes of it."""
    made = Attention(seconds=seconds)
    began.set_result(made)
    try:
        await made.wait(forever)
    except CalledAway:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return "called away, over" if made.time_is_over else "called away"
    finally:
        made.close()
    return "not reached"


async def begun(**seconds: float) -> tuple[asyncio.Task[str], Attention]:
    began: asyncio.Future[Attention] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(work(began, **seconds))
    made = await began
    await asyncio.sleep(0)
    return task, made


async def test_a_wait_gives_what_it_waited_for() -> None:
    made = Attention(seconds=60)

    async def answer() -> int:
        await asyncio.sleep(0)
        return 7

    assert await made.wait(answer) == 7
    made.close()


async def test_a_running_wait_is_broken_off() -> None:
    task, made = await begun()
    made.call_away()
    assert await task == "called away"


async def test_being_called_twice_is_as_good_as_once() -> None:
    task, made = await begun()
    made.call_away()
    made.call_away()
    assert await task == "called away"


async def test_a_call_between_two_waits_breaks_off_the_next_one() -> None:
    made = Attention(seconds=60)
    begins = 0

    async def begin() -> None:
        nonlocal begins
        begins += 1

    await made.wait(begin)
    made.call_away()
    await asyncio.sleep(0)  # no wait of the attention's: goes on
    for _ in range(2):
        with pytest.raises(CalledAway):
            await made.wait(begin)
    assert begins == 1
    made.close()


async def test_a_call_after_the_last_wait_changes_nothing() -> None:
    made = Attention(seconds=60)
    await made.wait(lambda: asyncio.sleep(0))
    made.close()
    made.call_away()
    await asyncio.sleep(0)


async def test_a_wait_ends_when_the_time_is_over() -> None:
    task, made = await begun(seconds=0.01)
    assert not made.time_is_over
    assert await task == "called away, over"


async def test_without_any_time_left_the_first_wait_ends_at_once() -> None:
    task, _ = await begun(seconds=-5)
    assert await task == "called away, over"


async def test_a_cancel_from_elsewhere_goes_through() -> None:
    task, _ = await begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("call_first", [True, False])
async def test_a_cancel_beside_a_call_goes_through(call_first: bool) -> None:
    task, made = await begun()
    for act in (made.call_away, task.cancel) if call_first else (task.cancel, made.call_away):
        act()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancel_after_a_call_was_answered_goes_through() -> None:
    made: list[Attention] = []

    async def lets_go() -> None:
        made.append(Attention(seconds=60))
        try:
            await made[0].wait(forever)
        except CalledAway:
            await forever()
        finally:
            made[0].close()

    task = asyncio.create_task(lets_go())
    await asyncio.sleep(0)
    made[0].call_away()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_wait_that_ends_just_as_it_is_called_away_loses_nothing_but_its_answer() -> None:
    made: list[Attention] = []
    ready = asyncio.get_running_loop().create_future()

    async def waits() -> str:
        made.append(Attention(seconds=60))
        try:
            await made[0].wait(lambda: ready)
        except CalledAway:
            return "called away"
        finally:
            made[0].close()
        return "answered"

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    ready.set_result(None)
    made[0].call_away()
    assert await task == "called away"


async def test_an_error_of_the_wait_comes_through() -> None:
    made = Attention(seconds=60)

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await made.wait(fail)
    made.close()


async def test_an_error_in_answer_to_the_call_is_the_waits_own_and_the_next_wait_is_called_away() -> None:
    """As of a library that turns a cancel into an error of its own."""
    made: list[Attention] = []

    async def clumsy() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise ValueError("broken off") from None

    async def waits() -> str:
        made.append(Attention(seconds=60))
        with pytest.raises(ValueError, match="broken off"):
            await made[0].wait(clumsy)
        with pytest.raises(CalledAway):
            await made[0].wait(forever)
        made[0].close()
        return "ended"

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    made[0].call_away()
    assert await task == "ended"
