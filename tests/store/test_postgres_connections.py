"""Connections to PostgreSQL: never more than allowed, in turn, and none that is of no use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from support.postgres import database_url
from understudy.store.postgres_connections import Connections


@pytest.fixture
async def connections(tmp_path: Path) -> AsyncIterator[Connections]:
    made = Connections(lambda: asyncpg.connect(database_url(tmp_path)), 2)
    yield made
    await made.close()


async def _pid(connections: Connections) -> int:
    async with connections.one() as connection:
        pid: int = connection.get_server_pid()
        return pid


async def test_a_connection_is_used_again_by_the_next_caller(connections: Connections) -> None:
    assert await _pid(connections) == await _pid(connections)


async def test_whoever_finds_all_in_use_waits_for_its_turn(connections: Connections) -> None:
    async with AsyncExitStack() as held:
        both = [await held.enter_async_context(connections.one()) for _ in range(2)]
        pids = {one.get_server_pid() for one in both}
        waiting = [asyncio.create_task(_pid(connections)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    assert {await waiting[1], await waiting[2]} == pids
    assert waiting[0].cancelled()


async def test_a_connection_that_was_lost_is_opened_anew_for_who_waits(connections: Connections) -> None:
    async def lose() -> None:
        async with connections.one() as lost:
            pids.append(lost.get_server_pid())
            has_it.set()
            await asyncio.sleep(0)
            lost.terminate()
            await lost.fetch("SELECT 1")

    pids: list[int] = []
    has_it = asyncio.Event()
    async with connections.one() as other:
        pids.append(other.get_server_pid())
        losing = asyncio.create_task(lose())
        await has_it.wait()
        waiting = asyncio.create_task(_pid(connections))
        with pytest.raises((asyncpg.InterfaceError, OSError)):
            await losing
        assert await waiting not in pids


async def test_one_that_is_left_within_a_transaction_is_not_given_to_the_next(connections: Connections) -> None:
    async with connections.one() as connection:
        await connection.execute("BEGIN")
    assert connection.is_closed()
    await _pid(connections)


async def test_a_read_that_is_broken_off_leaves_its_connection_to_the_next(connections: Connections) -> None:
    async def slow() -> None:
        async with connections.one() as connection:
            begun.set()
            await connection.fetch("SELECT pg_sleep(60)")

    begun = asyncio.Event()
    reading = asyncio.create_task(slow())
    await begun.wait()
    await asyncio.sleep(0.05)  # so that PostgreSQL has begun too
    reading.cancel()
    await asyncio.wait([reading])
    async with asyncio.timeout(5), connections.one() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_closing_waits_for_those_in_use_and_refuses_new_ones(tmp_path: Path) -> None:
    connections = Connections(lambda: asyncpg.connect(database_url(tmp_path)), 1)
    async with connections.one() as connection:
        closing = asyncio.create_task(connections.close())
        await asyncio.sleep(0)
        with pytest.raises(asyncpg.InterfaceError):
            await _pid(connections)
        assert await connection.fetchval("SELECT 1") == 1
        assert not closing.done()
    await closing
    assert connection.is_closed()
