"""Two things at the same moment: whoever comes first, a run ends once, and what is told of it can be read.

Every race is run many times, with its two sides brought nearer to each other and past each other step by step.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from support.house import PROJECT, WEATHER, House, open_house
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.readable import check_readable, terminal_events
from understudy.core.errors import Conflict
from understudy.core.ids import RunId
from understudy.engine.runs import Runs
from understudy.ports import Missing
from understudy.wire.runs import Run

ROUNDS = 16
NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def house(model: ScriptedModel, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, model, **NEVER) as opened:
        yield opened


async def streamed(house: House, run: Run) -> list[tuple[str, dict[str, object]]]:
    """What a reader of the run sees, to the end of its stream."""
    stream = house.stream(run)
    seen = []
    async with asyncio.timeout(5):
        while frames := await stream.next():
            for frame in frames:
                fields = dict(line.split(b": ", 1) for line in frame.strip().split(b"\n"))
                seen.append((fields[b"event"].decode(), msgspec.json.decode(fields[b"data"])))
    stream.close()
    return seen


async def check_ended_once(house: House, run: Run) -> str:
    """The status in which the run ended, once, by its row, its log and its stream."""
    stored = await house.stored(run)
    log = [(fact.event, msgspec.json.decode(fact.data)) for fact in await house.facts(run)]
    check_readable(log)
    ends = terminal_events(name for name, _ in log)
    assert ends == [f"thread.run.{stored.state.run.status}"]
    assert (stored.state.step, stored.state.message, stored.lease) == (None, None, None)
    assert log[-1][1]["status"] == stored.state.run.status
    return stored.state.run.status


async def after(steps: int, act: Callable[[], Awaitable[object]]) -> object:
    """Acts when the event loop has gone round that often."""
    for _ in range(steps):
        await asyncio.sleep(0)
    try:
        return await act()
    except (Conflict, Missing) as refusal:
        return refusal


class Sweeper:
    """What a sweep does to a run, at a time of its own."""

    def __init__(self, house: House, now: float) -> None:
        self._runs = Runs(house.store, house.journal, house.bus, house.worker, lambda: now)

    async def expire(self, run: Run) -> None:
        await self._runs.expire(RunId(run.id))


async def test_cancel_against_complete(house: House, model: ScriptedModel) -> None:
    ends: Counter[str] = Counter()
    for round_ in range(ROUNDS):
        gate = asyncio.Event()
        model.script(Reply("One ", Silence(gate), "two."))
        run = await house.start_run()
        reading = asyncio.create_task(streamed(house, run))
        await house.until_it_speaks(run)

        async def let_it_end(gate: asyncio.Event = gate) -> None:
            gate.set()

        await asyncio.gather(
            after(0, let_it_end),
            after(round_ * 9, lambda run=run: house.cancel(run)),  # type: ignore[misc]
        )
        await house.until(run, "completed", "cancelled")
        ends[await check_ended_once(house, run)] += 1
        check_readable(await reading)
    assert set(ends) == {"completed", "cancelled"}, "the race was never near"


async def test_cancel_against_tool_outputs(house: House, model: ScriptedModel) -> None:
    outcomes: Counter[bool] = Counter()
    for round_ in range(ROUNDS):
        model.script(Reply(Call("call_a", "weather", "{}")))
        run = await house.start_run(tools=[WEATHER])
        if (await house.until(run, "requires_action", "completed")).status == "completed":
            continue  # the round before was cancelled while its request was on its way, and took this one's reply
        near = (round_ % 6, 0) if round_ % 2 else (0, round_ % 6)
        cancelled, submitted = await asyncio.gather(
            after(near[0], lambda run=run: house.cancel(run)),  # type: ignore[misc]
            after(near[1], lambda run=run: house.submit(run, call_a="Rain")),  # type: ignore[misc]
        )
        await house.until(run, "completed", "cancelled")
        status = await check_ended_once(house, run)
        outcomes[isinstance(submitted, Conflict)] += 1
        assert status == "cancelled" or isinstance(cancelled, Conflict)
    assert set(outcomes) == {True, False}, "the race was never near"


async def test_expire_against_tool_outputs(house: House, model: ScriptedModel) -> None:
    ends: Counter[str] = Counter()
    now = house.clock()
    for round_ in range(ROUNDS):
        model.script(Reply(Call("call_a", "weather", "{}")), Reply("Wet."))
        run = await house.start_run(tools=[WEATHER])
        await house.until(run, "requires_action")
        sweeper = Sweeper(house, now + 601)
        near = (round_ % 6, 0) if round_ % 2 else (0, round_ % 6)
        await asyncio.gather(
            after(near[0], lambda run=run, sweeper=sweeper: sweeper.expire(run)),  # type: ignore[misc]
            after(near[1], lambda run=run: house.submit(run, call_a="Rain")),  # type: ignore[misc]
        )
        await house.until(run, "completed", "expired")
        ends[await check_ended_once(house, run)] += 1
        model.forget()
    assert set(ends) == {"completed", "expired"}, "the race was never near"


async def test_expire_against_cancel(house: House, model: ScriptedModel) -> None:
    for round_ in range(ROUNDS):
        model.script(Reply("Once", Silence()))
        run = await house.start_run()
        await house.until_it_speaks(run)
        sweeper = Sweeper(house, house.clock() + 601)
        near = (round_ % 6, 0) if round_ % 2 else (0, round_ % 6)
        await asyncio.gather(
            after(near[0], lambda run=run, sweeper=sweeper: sweeper.expire(run)),  # type: ignore[misc]
            after(near[1], lambda run=run: house.cancel(run)),  # type: ignore[misc]
        )
        await house.until(run, "cancelled", "expired")
        await check_ended_once(house, run)
        await model.until(lambda asked=round_: model.disconnects == asked + 1)  # type: ignore[misc]


async def test_delete_against_everything_a_run_writes(house: House, model: ScriptedModel) -> None:
    for round_ in range(ROUNDS):
        model.script(Reply("One ", "two."))
        run = await house.start_run()

        async def delete(run: Run = run) -> None:
            await house.store.delete_thread(PROJECT, run.thread_id)
            house.bus.interrupt(RunId(run.id))
            house.bus.retire(RunId(run.id))

        await after(round_ * 5, delete)
        await asyncio.gather(*house.worker._working.values())
        assert await house.store.run(RunId(run.id)) is None
        assert await house.facts(run) == []
        assert RunId(run.id) not in house.bus._topics
        model.forget()
