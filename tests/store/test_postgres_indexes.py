"""Indexes that steps add to tables with rows: whoever writes goes on, and what is broken off is finished."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from support.command import started
from support.databases import understudy_db
from support.postgres import database_url
from support.store import refusal
from support.talk import polled
from understudy.ports import StoreUnavailable
from understudy.store.dialect import Dialect
from understudy.store.migrations import MIGRATIONS, Migration, later_indexes, migrate_once
from understudy.store.postgres import POSTGRES, in_step, open_postgres, upgrade_postgres
from understudy.store.sqlite import upgrade_sqlite

BEFORE: Final = MIGRATIONS[:4]  # behind these, a step adds two indexes to the table of runs
ADDED: Final = {"runs_in_line": True, "runs_of_upstream": True}
_RUN: Final = (
    "INSERT INTO threads (id, project, messages, body) VALUES ('thread_{0}', 'proj_a', 0, ''); "
    "INSERT INTO runs (id, thread_id, assistant_id, status, waiting, last_fact, settings, progress, body) "
    "VALUES ('run_{0}', 'thread_{0}', 'asst_1', 'queued', 0, 2, '', '', '')"
)
# Of tables of this database's own schema: whether their indexes are valid, and how they are made.
_INDEXES: Final = (
    "SELECT c.relname, i.indisvalid, replace(pg_get_indexdef(c.oid), current_schema() || '.', '') FROM pg_index i "
    "JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = current_schema()::regnamespace"
)
_BUILDS: Final = (
    "SELECT pid FROM pg_stat_progress_create_index WHERE relid = 'runs'::regclass AND phase LIKE 'waiting%'"
)
_WAITERS: Final = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg%advisory_lock(5482711610)%'"

_numbers = count(1)


def indexing(_: Dialect) -> Sequence[str]:
    return ["CREATE INDEX runs_by_assistant ON runs (assistant_id, seq)"]


def dropping(_: Dialect) -> Sequence[str]:
    return ["DROP INDEX IF EXISTS runs_in_line"]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@asynccontextmanager
async def held_up(url: str, *, step: Sequence[Migration] = BEFORE) -> AsyncIterator[asyncpg.Connection]:
    """A database that has taken these steps and has a run, and a transaction that every build waits for."""
    await upgrade_postgres(url, step)
    async with connected(url) as old:
        await old.execute(new_run())
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM threads")
        yield old


def new_run() -> str:
    return _RUN.format(next(_numbers))


async def indexes(url: str) -> dict[str, tuple[bool, str]]:
    async with connected(url) as connection:
        return {name: (valid, made) for name, valid, made in await connection.fetch(_INDEXES)}


async def added(url: str) -> dict[str, bool]:
    """Those that the fifth step adds, and whether they are valid."""
    return {name: valid for name, (valid, _) in (await indexes(url)).items() if name in ADDED}


async def building(url: str) -> int:
    """The server's process that builds an index, once it waits for older transactions."""
    async with connected(url) as connection:

        async def found() -> int | None:
            pid: int | None = await connection.fetchval(_BUILDS)
            return pid

        return await polled(found)


# --- what there is in the end


@pytest.mark.parametrize("stops", [(1,), range(1, len(MIGRATIONS))], ids=["at once", "step by step"])
async def test_a_database_with_rows_gets_the_indexes_of_a_new_one(stops: Sequence[int], tmp_path: Path) -> None:
    fresh, older = database_url(tmp_path / "fresh"), database_url(tmp_path / "older")
    await upgrade_postgres(fresh)
    async with connected(older) as connection:
        for taken in stops:
            await upgrade_postgres(older, MIGRATIONS[:taken])
            await connection.execute(new_run())
    await upgrade_postgres(older)
    assert await indexes(older) == await indexes(fresh)
    assert all(valid for valid, _ in (await indexes(older)).values())


def test_sqlite_gets_the_same_indexes_whichever_way_it_came(tmp_path: Path) -> None:
    made = []
    for name, steps in (("fresh.db", range(0)), ("older.db", range(1, len(MIGRATIONS)))):
        for taken in steps:
            upgrade_sqlite(tmp_path / name, MIGRATIONS[:taken])
        upgrade_sqlite(tmp_path / name)
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            made.append(
                connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY 1").fetchall()
            )
    assert made[0] == made[1]
    assert set(ADDED) <= {name for name, _ in made[0]}


def test_unique_indexes_and_those_of_new_tables_are_made_in_their_step() -> None:
    def step(_: Dialect) -> Sequence[str]:
        return [
            "CREATE TABLE colours (name TEXT PRIMARY KEY, tone INTEGER)",
            "CREATE INDEX colours_by_tone ON colours (tone)",
            "CREATE UNIQUE INDEX runs_once ON runs (thread_id, seq)",
            "CREATE INDEX runs_later ON runs (thread_id)",
        ]

    assert [index.name for index in later_indexes(POSTGRES)] == list(ADDED)
    assert [index.name for index in later_indexes(POSTGRES, (*MIGRATIONS, step))] == [*ADDED, "runs_later"]


async def test_a_table_without_rows_gets_its_indexes_within_the_step(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    await upgrade_postgres(url, BEFORE)
    await take_fifth_step(url)
    assert await added(url) == ADDED


async def take_fifth_step(url: str) -> None:
    """And nothing else, as a program that is ended at that moment."""
    async with connected(url) as connection:
        assert await in_step(connection, lambda: migrate_once(POSTGRES, MIGRATIONS)) == 5


async def test_what_a_later_step_drops_is_built_neither_by_it_nor_by_older_programs(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    async with held_up(url) as old:
        await old.execute("COMMIT")
    newer = (*MIGRATIONS, dropping)
    await upgrade_postgres(url, newer)
    left = {"runs_of_upstream": True}
    assert await added(url) == left
    assert await upgrade_postgres(url) == []
    assert await upgrade_postgres(url, newer) == []
    assert await added(url) == left


# --- meanwhile


async def test_runs_are_written_and_older_programs_start_while_an_index_is_built(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    async with held_up(url, step=MIGRATIONS) as old, connected(url) as writer:
        await old.execute(
            f"COMMIT; BEGIN; {new_run()}"
        )  # which an index within a step would wait for, and all behind it
        upgrading = asyncio.create_task(upgrade_postgres(url, (*MIGRATIONS, indexing)))
        await building(url)
        async with asyncio.timeout(5):
            await writer.execute(new_run())
            await writer.execute("UPDATE runs SET status = 'in_progress' WHERE id = (SELECT MAX(id) FROM runs)")
            assert await upgrade_postgres(url) == []
        assert not upgrading.done()
        await old.execute("COMMIT")
        async with asyncio.timeout(10):
            assert await upgrading == [len(MIGRATIONS) + 1]
        assert (await indexes(url))["runs_by_assistant"][0]
        await writer.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; ANALYZE runs")
        counting = "SELECT COUNT(*) FROM runs WHERE assistant_id = 'asst_1'"
        assert "runs_by_assistant" in str(await writer.fetch(f"EXPLAIN {counting}"))
        assert await writer.fetchval(counting) == 3


async def test_servers_that_start_at_once_all_come_up_when_an_index_has_to_be_built(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    async with held_up(url) as old, connected(url) as beside:
        starting = [asyncio.create_task(open_postgres(url)) for _ in range(3)]
        await building(url)

        async def two_wait() -> bool | None:
            return len(await beside.fetch(_WAITERS)) == 2 or None

        await polled(two_wait)
        # Whoever waits for the build within a statement of its own would now be waited for by it.
        await old.execute("COMMIT")
        async with asyncio.timeout(20):
            stores = await asyncio.gather(*starting)
        for store in stores:
            await store.check()
            await store.close()
    assert await added(url) == ADDED


# --- broken off


async def cancelled(upgrading: asyncio.Task[Sequence[int]], _: asyncpg.Connection, __: int) -> None:
    upgrading.cancel()
    await refusal(asyncio.CancelledError, upgrading)


async def cut_off(upgrading: asyncio.Task[Sequence[int]], beside: asyncpg.Connection, pid: int) -> None:
    await beside.execute(f"SELECT pg_terminate_backend({pid})")
    await refusal(StoreUnavailable, upgrading)


@pytest.mark.parametrize("ended", [cancelled, cut_off])
async def test_an_index_that_was_broken_off_is_told_of_and_built_anew(
    ended: Callable[[asyncio.Task[Sequence[int]], asyncpg.Connection, int], Awaitable[None]], tmp_path: Path
) -> None:
    url = database_url(tmp_path)
    async with held_up(url) as old:
        upgrading = asyncio.create_task(upgrade_postgres(url))
        pid = await building(url)
        being_built = await told(url)
        async with connected(url) as beside:
            await ended(upgrading, beside, pid)
        await old.execute("COMMIT")
    assert await added(url) == {"runs_in_line": False}
    assert being_built == await told(url) == list(ADDED)
    store = await open_postgres(url)
    await store.close()
    assert await added(url) == ADDED
    assert await told(url) == []


async def told(url: str) -> list[str]:
    """What `understudy db status` says of indexes that are not there, in each of its ways."""
    schema = json.loads(await understudy_db("status", url, "--json"))["schema"]
    names: list[str] = schema["indexes_due"]
    assert (schema["version"], schema["upgrade_due"]) == (len(MIGRATIONS), bool(names))
    said = f"but not all its indexes ({', '.join(names)}): `understudy db upgrade` builds" if names else "up to date\n"
    assert f"version {len(MIGRATIONS)}, {said}" in await understudy_db("status", url)
    return names


async def test_a_program_that_ends_between_a_step_and_its_indexes_is_followed_by_one_that_builds_them(
    tmp_path: Path,
) -> None:
    url = database_url(tmp_path)
    async with held_up(url) as old:
        await take_fifth_step(url)
        await old.execute("COMMIT")
    assert await added(url) == {}
    await understudy_db("upgrade", url)
    assert await added(url) == ADDED
    assert await told(url) == []


async def test_an_index_that_the_database_builds_on_without_its_program_is_awaited(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    async with held_up(url) as old, connected(url) as beside:
        async with started("db", "upgrade", url, home=tmp_path) as process:
            await building(url)
            process.kill()
        made = await beside.fetchval("SELECT 'runs_in_line'::regclass::oid")
        next_one = asyncio.create_task(upgrade_postgres(url))
        await old.execute("COMMIT")
        async with asyncio.timeout(20):
            assert await next_one == []
        assert await beside.fetchval("SELECT 'runs_in_line'::regclass::oid") == made
    assert await added(url) == ADDED
