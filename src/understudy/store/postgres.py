"""The PostgreSQL engine: many processes on one database, each with a few connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import asyncpg

from understudy.core.limits import (
    MIGRATION_LOCK_MS,
    MIGRATION_SECONDS_MAX,
    POSTGRES_ATTEMPTS_MAX,
    POSTGRES_CONNECTIONS_MAX,
    POSTGRES_SECONDS_MAX,
    POSTGRES_STATEMENTS_CACHED,
    POSTGRES_STILL_SECONDS,
)
from understudy.ports import StoreUnavailable
from understudy.store.dialect import Dialect
from understudy.store.migrations import MIGRATIONS, Migration, migrate_once, refuse_unfinished_copy
from understudy.store.operations import Op
from understudy.store.postgres_connections import UNANSWERED, Connections
from understudy.store.postgres_groups import Groups
from understudy.store.postgres_indexes import build_indexes
from understudy.store.postgres_waves import drive, in_transaction
from understudy.store.rows import RowStore

T = TypeVar("T")

_NUMBERED: Final = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
POSTGRES: Final = Dialect(
    sequence=_NUMBERED,
    order=_NUMBERED,
    integer="BIGINT",
    real="DOUBLE PRECISION",
    bytes="BYTEA",
    builds_beside=True,
)
# Whoever migrates holds this lock to the end of the transaction: a number of our own, known to nobody else.
LOCK_SCHEMA: Final = "SELECT pg_advisory_xact_lock(5482711609)"
# A step that waits for a table keeps everybody waiting who comes behind it, so it soon gives up and tries again.
_BEFORE_STEP: Final = f"{LOCK_SCHEMA}; SET LOCAL lock_timeout = {MIGRATION_LOCK_MS}"
# What is not the statement's fault: a lost connection, a changed password, a full disk, too many connections, an end.
# And a transaction that stood still for so long that the server has ended it.
_ENGINE_STATES: Final = ("08", "28", "53", "57", "58", "XX", "25P03")
_LOST_RACES: Final = ("40001", "40P01")  # serialization failure, deadlock: done again, it succeeds


class PostgresStore(RowStore):
    """`ports.Store` on a PostgreSQL database, version 13 or later. `open_postgres` makes it.

    Operations hold what they are about with `FOR UPDATE`, so READ COMMITTED is enough. One that loses a deadlock is
    done again.
    """

    keeps_time = True

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

    async def read_under(self, settings: str, operation: Op[T]) -> T:
        """Runs what only reads in a transaction of its own, which begins with `SET LOCAL` statements."""
        async with self._connection() as connection:
            return await in_transaction(connection, operation, first=settings)

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
            if (error.sqlstate or "").startswith(_ENGINE_STATES):
                raise StoreUnavailable(f"PostgreSQL cannot do this now: {error}") from error
            raise


async def open_postgres(
    url: str,
    *,
    connections_max: int = POSTGRES_CONNECTIONS_MAX,
    still_seconds: float = POSTGRES_STILL_SECONDS,
) -> PostgresStore:
    """The store in this database, its tables up to date. Raises `UnusableDatabase`, `StoreUnavailable`.

    A transaction that stands still for `still_seconds` between two statements is ended by the server.
    """
    await upgrade_postgres(url)

    async def begin_session() -> asyncpg.Connection:
        connection = await connect(url, command_seconds=POSTGRES_SECONDS_MAX)
        # A machine that sleeps, or is gone without a word, must not keep its locks.
        await connection.execute(f"SET idle_in_transaction_session_timeout = {int(still_seconds * 1000)}")
        return connection

    connections = Connections(begin_session, connections_max)
    with opening():
        async with connections.one():
            pass
    store = PostgresStore(connections)
    try:
        await store._read(refuse_unfinished_copy())  # noqa: SLF001 - the store's own half
    except BaseException:
        await store.close()
        raise
    return store


async def upgrade_postgres(url: str, migrations: Sequence[Migration] = MIGRATIONS) -> Sequence[int]:
    """The versions behind the steps that this call took; several processes may ask at once.

    Raises `NewerDatabase`, `StoreUnavailable`.
    """
    with opening():
        connection = await connect(url, command_seconds=MIGRATION_SECONDS_MAX)
        try:
            taken = await _migrate(connection, migrations)
            await build_indexes(connection, POSTGRES, migrations)
            return taken
        finally:
            await connection.close()


async def connect(url: str, *, command_seconds: float, options: Mapping[str, str] | None = None) -> asyncpg.Connection:
    """A connection of the caller's own. `options` are settings of its session. Raises what asyncpg does."""
    return await asyncpg.connect(
        url,
        timeout=POSTGRES_SECONDS_MAX,
        command_timeout=command_seconds,
        statement_cache_size=POSTGRES_STATEMENTS_CACHED,
        server_settings=dict(options or {}),
    )


async def _migrate(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> Sequence[int]:
    taken = []
    version = -1
    while version != 0:
        version = await in_step(connection, lambda: migrate_once(POSTGRES, migrations))
        taken.append(version)
    return taken[:-1]


async def in_step(connection: asyncpg.Connection, operation: Callable[[], Op[T]]) -> T:
    """Runs what changes tables, while nobody else does."""
    deadline = time.monotonic() + MIGRATION_SECONDS_MAX
    while True:
        try:
            return await in_transaction(connection, operation(), first=_BEFORE_STEP)
        except asyncpg.LockNotAvailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(MIGRATION_LOCK_MS / 1000)  # those who waited behind us go first


@contextmanager
def opening() -> Iterator[None]:
    """Raises `StoreUnavailable` for whatever keeps a database from being opened."""
    try:
        yield
    except (*UNANSWERED, asyncpg.PostgresError, ValueError) as error:
        raise StoreUnavailable(f"The database cannot be opened: {error}") from error
