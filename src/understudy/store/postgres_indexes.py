"""Indexes that steps add to tables with rows: built behind the steps, while everybody goes on writing.

PostgreSQL does so outside of transactions, and what was broken off leaves an index that is kept up to date and never
used. So it is the catalogue that says what is left to do, however it came to that: whoever comes next does it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from understudy.core.limits import INDEX_SECONDS_MAX, MIGRATION_LOCK_MS
from understudy.store.dialect import Dialect
from understudy.store.migrations import MIGRATIONS, Index, Migration, later_indexes, schema
from understudy.store.operations import Op, Query
from understudy.store.postgres_waves import drive

__all__ = ["build_indexes", "unbuilt"]

log = structlog.get_logger(__name__)

_WHOLE: Final = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisvalid "
    "AND i.indrelid = ANY (CAST(CAST(? AS text[]) AS regclass[])) AND c.relname = ANY (CAST(? AS text[]))"
)
# The session's, to its end: another number than that of the steps, which older programs take when they start. Nobody
# waits for it within a statement: the build waits for all statements that are older than itself, so for that one too.
_TAKE: Final = "SELECT pg_try_advisory_lock(5482711610)"
# What operators allow statements of servers is not meant for this one.
_BE_PATIENT: Final = "SET statement_timeout = 0; SET lock_timeout = 0"


def unbuilt(dialect: Dialect, migrations: Sequence[Migration] = MIGRATIONS) -> Op[Sequence[Index]]:
    """What these steps have left to be built in a database that has taken them; of a newer program's, nothing."""
    if (yield from schema()).version != len(migrations):
        return []
    indexes = later_indexes(dialect, migrations)
    tables, names = [index.table for index in indexes], [index.name for index in indexes]
    whole = {name for (name,) in (yield Query(_WHOLE, (tables, names)))}
    return [index for index in indexes if index.name not in whole]


async def build_indexes(connection: asyncpg.Connection, dialect: Dialect, migrations: Sequence[Migration]) -> None:
    """Returns when none is left, whoever has built them. The connection is to be closed behind this.

    Raises `TimeoutError`, and what asyncpg does.
    """
    is_mine, is_told = False, False
    deadline = time.monotonic() + INDEX_SECONDS_MAX
    while left := await drive(connection, unbuilt(dialect, migrations)):
        if is_mine:
            await _build(connection, left[0])
            continue
        is_mine = await connection.fetchval(_TAKE)
        if is_mine:
            await connection.execute(_BE_PATIENT)
        elif time.monotonic() > deadline:
            raise TimeoutError("another program has been building indexes for a day")
        else:
            if not is_told:
                log.info("indexes_awaited", indexes=[index.name for index in left])
                is_told = True
            await asyncio.sleep(MIGRATION_LOCK_MS / 1000)


async def _build(connection: asyncpg.Connection, index: Index) -> None:
    log.info("index_begun", index=index.name, table=index.table)
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", timeout=INDEX_SECONDS_MAX)
    sql = index.sql.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1)
    await connection.execute(sql, timeout=INDEX_SECONDS_MAX)
    log.info("index_built", index=index.name, table=index.table)
