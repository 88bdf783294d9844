"""The steps that make and change the tables, taken by one program, by several at once, and beside those that work."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from support.postgres import database_url
from support.store import ENGINES, PROJECT, assistant, open_engine, refusal
from support.talk import polled
from understudy.store.dialect import Dialect
from understudy.store.migrations import MIGRATIONS, Migration, NewerDatabase, UnfinishedCopy, migrate_once
from understudy.store.operations import Op, Query
from understudy.store.postgres import upgrade_postgres
from understudy.store.rows import RowStore
from understudy.store.sqlite import SQLITE, connect, in_transaction, upgrade_sqlite

KNOWN = len(MIGRATIONS)


def adding(_: Dialect) -> Sequence[str]:
    """What a minor version may do."""
    return [
        "ALTER TABLE assistants ADD COLUMN colour TEXT",
        "ALTER TABLE threads ADD COLUMN weight INTEGER NOT NULL DEFAULT 1",
        "CREATE TABLE colours (name TEXT PRIMARY KEY)",
    ]


async def upgrade(engine: str, directory: Path, migrations: Sequence[Migration] = MIGRATIONS) -> Sequence[int]:
    if engine == "postgres":
        return await upgrade_postgres(database_url(directory), migrations)
    return await asyncio.to_thread(upgrade_sqlite, directory / "understudy.db", migrations)


async def write(store: RowStore, sql: str, *params: object) -> None:
    def operation() -> Op[None]:
        yield Query(sql, params)

    await store._write(operation)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_program_works_on_while_a_newer_one_adds_to_its_tables(engine: str, tmp_path: Path) -> None:
    async with open_engine(engine, tmp_path) as store:
        made = assistant()
        await store.add_assistant(PROJECT, made)
        assert await upgrade(engine, tmp_path, (*MIGRATIONS, adding)) == [KNOWN + 1]
        await store.add_assistant(PROJECT, assistant())
        assert await store.assistant(PROJECT, made.assistant.id) == made
        assert await store.delete_assistant(PROJECT, made.assistant.id)
    # And it may be started again: nodes are upgraded one by one.
    assert await upgrade(engine, tmp_path) == []
    async with open_engine(engine, tmp_path) as store:
        await store.add_assistant(PROJECT, made)
        assert await store.assistant(PROJECT, made.assistant.id) == made


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_database_that_older_programs_cannot_use_is_refused_in_one_sentence(
    engine: str, tmp_path: Path
) -> None:
    async with open_engine(engine, tmp_path) as store:
        assert isinstance(store, RowStore)
        await write(store, "INSERT INTO schema_version (version) VALUES (?)", KNOWN + 1)
        await write(store, "INSERT INTO meta (name, value) VALUES ('compatible', ?)", KNOWN + 1)
    newer = await refusal(NewerDatabase, upgrade(engine, tmp_path))
    assert str(newer) == (
        f"The database has schema version {KNOWN + 1}, which programs that know less than version {KNOWN + 1} cannot "
        f"use, and this one knows {KNOWN}: start the newer program that wrote it, or restore a backup."
    )


@pytest.mark.parametrize("engine", ENGINES)
async def test_half_a_copy_is_not_worked_on(engine: str, tmp_path: Path) -> None:
    async with open_engine(engine, tmp_path) as store:
        assert isinstance(store, RowStore)
        await write(store, "INSERT INTO copied (name, progress) VALUES ('runs', ?)", b"{}")
    with pytest.raises(UnfinishedCopy, match="`understudy db copy` again"):
        async with open_engine(engine, tmp_path):
            pass


def test_each_step_is_taken_once_and_a_failing_one_leaves_the_last(tmp_path: Path) -> None:
    steps: list[Migration] = [MIGRATIONS[0], lambda _: ["CREATE TABLE b (n INTEGER)", "NOT SQL"]]
    with closing(connect(tmp_path / "u.db")) as connection:
        assert in_transaction(connection, migrate_once(SQLITE, steps)) == 1
        with pytest.raises(sqlite3.Error, match="syntax"):
            in_transaction(connection, migrate_once(SQLITE, steps))
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "threads" in tables
        assert "b" not in tables
        steps[1] = lambda _: ["CREATE TABLE b (n INTEGER)"]
        assert in_transaction(connection, migrate_once(SQLITE, steps)) == 2
        assert in_transaction(connection, migrate_once(SQLITE, steps)) == 0


def test_only_a_step_that_breaks_keeps_older_programs_away(tmp_path: Path) -> None:
    steps: list[Migration] = [*MIGRATIONS, adding, lambda _: ["DROP TABLE colours"], lambda _: []]
    with closing(connect(tmp_path / "u.db")) as connection:
        while in_transaction(connection, migrate_once(SQLITE, steps, {KNOWN + 2})):
            pass
        assert in_transaction(connection, migrate_once(SQLITE, steps[: KNOWN + 2])) == 0
        with pytest.raises(NewerDatabase):
            in_transaction(connection, migrate_once(SQLITE, steps[: KNOWN + 1]))


@pytest.mark.parametrize("engine", ENGINES)
async def test_of_many_that_upgrade_at_once_each_step_is_taken_by_one(engine: str, tmp_path: Path) -> None:
    taken = await asyncio.gather(*(upgrade(engine, tmp_path, (*MIGRATIONS, adding)) for _ in range(8)))
    assert sorted(version for versions in taken for version in versions) == list(range(1, KNOWN + 2))


async def test_a_step_that_waits_for_a_table_lets_its_readers_pass(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    await upgrade_postgres(url)
    slow, reader = [await asyncpg.connect(url) for _ in range(2)]
    await slow.execute("BEGIN; SELECT * FROM threads")  # a reader whose transaction takes its time
    upgrading = asyncio.create_task(upgrade_postgres(url, (*MIGRATIONS, adding)))

    async def stands_in_line() -> bool | None:
        return bool(await reader.fetch("SELECT 1 FROM pg_locks WHERE NOT granted")) or None

    await polled(stands_in_line)
    async with asyncio.timeout(5):
        await reader.fetch("SELECT * FROM threads")
    assert not upgrading.done()
    await slow.execute("COMMIT")
    assert await upgrading == [KNOWN + 1]
    await slow.close()
    await reader.close()
