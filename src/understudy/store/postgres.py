"""The PostgreSQL engine: many processes on one database, each with a few connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Final, TypeVar, cast

import asyncpg

from understudy.core.limits import (
    MIGRATION_LOCK_MS,
    MIGRATION_SECONDS_MAX,
    POSTGRES_ATTEMPTS_MAX,
    POSTGRES_CONNECTIONS_MAX,
    POSTGRES_SECONDS_MAX,
    POSTGRES_STILL_SECONDS,
)
from understudy.ports import StoreUnavailable
from understudy.store.dialect import Dialect
from understudy.store.migrations import MIGRATIONS, Migration, migrate_once, refuse_unfinished_copy
from understudy.store.operations import Op, Row
from understudy.store.rows import RowStore

T = TypeVar("T")

_NUMBERED: Final = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
POSTGRES: Final = Dialect(sequence=_NUMBERED, order=_NUMBERED, integer="BIGINT", real="DOUBLE PRECISION", bytes="BYTEA")
# Whoever migrates holds this lock to the end of the transaction: a number of our own, known to nobody else.
LOCK_SCHEMA: Final = "SELECT pg_advisory_xact_lock(5482711609)"
# A step that waits for a table keeps everybody waiting who comes behind it, so it soon gives up and tries again.
_BEFORE_STEP: Final = f"{LOCK_SCHEMA}; SET LOCAL lock_timeout = {MIGRATION_LOCK_MS}"
# What is not the statement's fault: a lost connection, a server that stops, a full disk, too many connections.
# And a transaction that stood still for so long that the server has ended it.
_ENGINE_STATES: Final = ("08", "53", "57", "58", "XX", "25P03")
_LOST_RACES: Final = ("40001", "40P01")  # serialization failure, deadlock: done again, it succeeds


class _Connection(asyncpg.Connection):
    """A session is as it began whenever it goes to the next caller: there is nothing to put back."""

    def get_reset_query(self) -> str:
        return ""


class PostgresStore(RowStore):
    """`ports.Store` on a PostgreSQL database, version 13 or later. `open_postgres` makes it.

    Operations hold what they are about with `FOR UPDATE`, so READ COMMITTED is enough. One that loses a deadlock is
    done again.
    """

    keeps_time = True

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def _read(self, operation: Op[T]) -> T:
        async with self._connection() as connection:
            return await drive(connection, operation)

    async def _read_long(self, operation: Op[T]) -> T:
        return await self._read(operation)

    async def _write(self, operation: Callable[[], Op[T]], then: Callable[[T], None] | None = None) -> T:
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
        await self._pool.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Raises `StoreUnavailable` where the engine, and not what was asked of it, is at fault."""
        try:
            async with self._pool.acquire(timeout=POSTGRES_SECONDS_MAX) as connection:
                try:
                    yield cast("asyncpg.Connection", connection)
                except asyncpg.InternalClientError:
                    # A server that stops says so when nothing is expected of it, and the client loses its place.
                    connection.terminate()
                    raise
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError) as error:
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

    async def begin_session(connection: asyncpg.Connection) -> None:
        # A machine that sleeps, or is gone without a word, must not keep its locks.
        await connection.execute(f"SET idle_in_transaction_session_timeout = {int(still_seconds * 1000)}")

    await upgrade_postgres(url)
    with opening():
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=connections_max,
            max_inactive_connection_lifetime=300.0,
            timeout=POSTGRES_SECONDS_MAX,
            command_timeout=POSTGRES_SECONDS_MAX,
            connection_class=_Connection,
            init=begin_session,
        )
    assert pool is not None
    store = PostgresStore(pool)
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
            return await _migrate(connection, migrations)
        finally:
            await connection.close()


async def connect(url: str, *, command_seconds: float, options: Mapping[str, str] | None = None) -> asyncpg.Connection:
    """A connection of the caller's own. `options` are settings of its session. Raises what asyncpg does."""
    return await asyncpg.connect(
        url, timeout=POSTGRES_SECONDS_MAX, command_timeout=command_seconds, server_settings=dict(options or {})
    )


async def _migrate(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> Sequence[int]:
    taken = []
    deadline = time.monotonic() + MIGRATION_SECONDS_MAX
    version = -1
    while version != 0:
        try:
            version = await in_transaction(connection, migrate_once(POSTGRES, migrations), first=_BEFORE_STEP)
        except asyncpg.LockNotAvailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(MIGRATION_LOCK_MS / 1000)  # those who waited behind us go first
        else:
            taken.append(version)
    return taken[:-1]


@contextmanager
def opening() -> Iterator[None]:
    """Raises `StoreUnavailable` for whatever keeps a database from being opened."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError) as error:
        raise StoreUnavailable(f"The database cannot be opened: {error}") from error


async def in_transaction(connection: asyncpg.Connection, operation: Op[T], *, first: str = "") -> T:
    """Runs an operation and commits it, or raises what it raises and leaves nothing of it."""
    await connection.execute(f"BEGIN; {first}" if first else "BEGIN")
    try:
        result = await drive(connection, operation)
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")
    return result


async def drive(connection: asyncpg.Connection, operation: Op[T]) -> T:
    """Runs an operation to its result, or raises what it raises. Transactions are the caller's."""
    try:
        query = next(operation)
        while True:
            sql = numbered(query.sql, query.locks)
            rows = cast("Sequence[Row]", await connection.fetch(sql, *map(stored, query.params)))
            query = operation.send(rows)
    except StopIteration as end:
        return cast("T", end.value)


@cache
def numbered(sql: str, locks: bool) -> str:
    """The statement with PostgreSQL's parameters: `$1` and on for each `?`."""
    pieces = sql.split("?")
    text = pieces[0] + "".join(f"${number}{piece}" for number, piece in enumerate(pieces[1:], 1))
    return f"{text} FOR UPDATE" if locks else text


def stored(value: object) -> object:
    """Text without what PostgreSQL cannot keep in any: NUL. Objects are stored as JSON bytes, which lose nothing."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
