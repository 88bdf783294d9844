"""`understudy db` run in this process, and databases looked into by other means than its own."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
from typer.testing import CliRunner

from understudy.cli.main import commands
from understudy.cli.terminal import Stop

__all__ = ["Contents", "contents_of", "execute", "named", "understudy_db"]

# By table and then column, the rows in order of what they say.
Contents: TypeAlias = dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]

_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name LIKE ?"
_POSTGRES_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE $1"


async def understudy_db(*arguments: str, **env: str) -> str:
    """What the command prints. Raises `Stop` as the command does."""
    line = ["db", *arguments]
    done = await asyncio.to_thread(CliRunner().invoke, commands(), line, env=env)
    if isinstance(done.exception, Stop):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def named(database: Path | str) -> str:
    """As the command line has it."""
    return f"sqlite:{database}" if isinstance(database, Path) else database


async def contents_of(database: Path | str, only: str = "%") -> Contents:
    """Every row of every table, each with all its columns, as the engine itself lists them; or of this table alone."""
    found: Contents = {}
    if isinstance(database, Path):
        with closing(sqlite3.connect(database)) as connection:
            for (table,) in connection.execute(_SQLITE_TABLES, (only,)).fetchall():
                rows = connection.execute(f"SELECT * FROM {table}")
                columns = tuple(column[0] for column in rows.description)
                found[table] = (columns, _in_order(rows.fetchall()))
        return found
    connection_ = await asyncpg.connect(database)
    for (table,) in await connection_.fetch(_POSTGRES_TABLES, only):
        statement = await connection_.prepare(f"SELECT * FROM {table}")
        columns = tuple(column.name for column in statement.get_attributes())
        found[table] = (columns, _in_order([tuple(row) for row in await statement.fetch()]))
    await connection_.close()
    return found


def _in_order(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)


async def execute(database: Path | str, sql: str) -> None:
    """Changes a database behind everybody's back."""
    if isinstance(database, Path):
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute(sql)
    else:
        connection_ = await asyncpg.connect(database)
        await connection_.execute(sql)
        await connection_.close()
