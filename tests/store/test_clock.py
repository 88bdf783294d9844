"""A process's clock is brought to its database's, and no further than it must be."""

import asyncio
from pathlib import Path

import pytest

from support.postgres import database_url
from understudy import entropy
from understudy.core.limits import CLOCK_APART_SECONDS
from understudy.ports import StoreUnavailable
from understudy.store.clock import DatabaseClock
from understudy.store.postgres import open_postgres

NOON = 1_760_000_000.0


class Machine:
    """This machine's clock, and a database's that is `apart` from it and takes `journey` to answer."""

    def __init__(self, *, apart: float, journey: float = 0.0) -> None:
        self.at = NOON
        self.apart = apart
        self.journey = journey
        self.away = False
        self.asked = 0

    def __call__(self) -> float:
        return self.at

    async def tell(self) -> float:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("gone")
        self.at += self.journey / 2
        told = self.at + self.apart
        self.at += self.journey / 2
        return told


@pytest.mark.parametrize("apart", [60.0, -60.0, 0.2])
async def test_a_machine_that_is_off_goes_by_the_databases_clock(apart: float) -> None:
    machine = Machine(apart=apart, journey=0.01)
    clock = DatabaseClock(machine, machine.tell)
    await clock.compare()
    assert clock() == pytest.approx(machine.at + apart)


async def test_time_stays_as_it_is_while_the_clocks_hardly_differ() -> None:
    machine = Machine(apart=-CLOCK_APART_SECONDS / 2)
    clock = DatabaseClock(machine, machine.tell)
    await clock.compare()
    assert clock() == machine.at


async def test_what_a_slow_answer_may_explain_corrects_nothing() -> None:
    machine = Machine(apart=0.0)
    clock = DatabaseClock(machine, machine.tell)
    machine.apart, machine.journey = 0.9, 2.0
    await clock.compare()
    assert clock() == machine.at
    machine.journey = 0.001
    await clock.compare()
    assert clock() == pytest.approx(machine.at + 0.9)


async def test_it_looks_again_and_again_whatever_becomes_of_the_database() -> None:
    machine = Machine(apart=60.0)
    clock = DatabaseClock(machine, machine.tell, look_seconds=0.001)
    await clock.open()
    try:
        machine.away = True
        async with asyncio.timeout(5):
            while machine.asked < 4:  # noqa: ASYNC110 - a clock tells nobody when it looks
                await asyncio.sleep(0)
            assert clock() == machine.at + 60
            machine.away, machine.apart = False, -5.0
            while clock() != machine.at - 5:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
    finally:
        await clock.close()


async def test_a_database_that_is_away_at_the_beginning_is_told_of() -> None:
    machine = Machine(apart=0.0)
    machine.away = True
    with pytest.raises(StoreUnavailable):
        await DatabaseClock(machine, machine.tell).open()


async def test_postgres_tells_its_time(tmp_path: Path) -> None:
    store = await open_postgres(database_url(tmp_path))
    try:
        before = entropy.now()
        told = await store.time()
        assert before - 0.1 < told < entropy.now() + 0.1  # the same machine's
    finally:
        await store.close()
