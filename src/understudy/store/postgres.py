"""The PostgreSQL engine: many processes on one database, each with a few connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import asyncpg

from understudy.core.limits import POSTGRES_ATTEMPTS_MAX, POSTGRES_CONNECTIONS_MAX
from understudy.ports import StoreUnavailable
from understudy.store.dialect import Dialect
from understudy.store.migrations import migrate_once
from understudy.store.operations import Op
from understudy.store.postgres_connections import UNANSWERED, Connections
from understudy.store.postgres_groups import Groups
from understudy.store.postgres_waves import drive, in_transaction
from understudy.store.rows import RowStore

T = TypeVar("T")

_NUMBERED: Final = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
POSTGRES: Final = Dialect(sequence=_NUMBERED, order=_NUMBERED, integer="BIGINT", real="DOUBLE PRECISION", bytes="BYTEA")
# Whoever migrates holds this lock to the end of the transaction: a number of our own, known to nobody else.
_LOCK_SCHEMA: Final = "SELECT pg_advisory_xact_lock(5482711609)"
# What is not the statement's fault: a lost connection, a changed password, a full disk, too many connections, an end.
_ENGINE_CLASSES: Final = ("08", "28", "53", "57", "58", "XX")
_LOST_RACES: Final = ("40001", "40P01")  # serialization failure, deadlock: done again, it succeeds


class PostgresStore(RowStore):
    """`ports.Store` on a PostgreSQL database, version 13 or later. `open_postgres` makes it.

    Operations hold what they are about with `FOR UPDATE`, so READ COMMITTED is enough. One that loses a deadlock is
    done again.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._groups = Groups(self._connection, self._attempt)

    async def _read(self, operation: Op[T]) -> T:
        async with self._connection() as connection:
            return await drive(connection, operation)

    async def _read_long(self, operation: Op[T]) -> T:
        return await self._read(operation)

    async def _write(
        self, operation: Callable[[], Op[T]], then: Callable[[T], None] | None = None, *, about: str | None = None
    ) -> T:
        if about is not None:
            return await self._groups.write(about, operation, then)
        # In a task of its own: a caller who goes away in the middle leaves neither a connection nor `then` behind.
        return await asyncio.shield(self._settle(operation, then))

    async def _settle(self, operation: Callable[[], Op[T]], then: Callable[[T], None] | None) -> T:
        result = await self._attempt(operation)
        if then is not None:
            then(result)
        return result

    async def _attempt(self, operation: Callable[[], Op[T]]) -> T:
        attempts = 1
        while True:
            try:
                async with self._connection() as connection:
                    return await in_transaction(connection, operation())
            except asyncpg.PostgresError as error:
                if error.sqlstate not in _LOST_RACES or attempts == POSTGRES_ATTEMPTS_MAX:
                    raise
            attempts += 1

    async def close(self) -> None:
        await self._groups.close()
        await self._connections.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Raises `StoreUnavailable` where the engine, and not what was asked of it, is at fault."""
        try:
            async with self._connections.one() as connection:
                yield connection
        except UNANSWERED as error:
            raise StoreUnavailable(f"PostgreSQL cannot be reached: {error}") from error
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "")[:2] in _ENGINE_CLASSES:
                raise StoreUnavailable(f"PostgreSQL cannot do this now: {error}") from error
            raise


async def open_postgres(url: str, *, connections_max: int = POSTGRES_CONNECTIONS_MAX) -> PostgresStore:
    """The store in this database, its tables up to date. Raises `NewerDatabase`, `StoreUnavailable`."""
    connections = Connections(url, connections_max)
    try:
        async with connections.one():
            pass
    except (*UNANSWERED, asyncpg.PostgresError, ValueError) as error:
        raise StoreUnavailable(f"The database cannot be opened: {error}") from error
    store = PostgresStore(connections)
    try:
        await _upgrade(store)
    except BaseException:
        await store.close()
        raise
    return store


async def _upgrade(store: PostgresStore) -> None:
    async with store._connection() as connection:  # noqa: SLF001 - the store's own half
        more = True
        while more:
            more = await in_transaction(connection, migrate_once(POSTGRES), first=_LOCK_SCHEMA)
