"""A PostgreSQL database as one side of a copy, over one connection."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import asyncpg

from understudy.core.limits import COPY_FETCH_ROWS, COPY_SECONDS_MAX
from understudy.ports import StoreUnavailable
from understudy.store import health
from understudy.store.operations import Op, Row
from understudy.store.postgres import POSTGRES, connect, opening
from understudy.store.postgres_indexes import unbuilt
from understudy.store.postgres_waves import drive, in_transaction, numbered, stored
from understudy.store.sides import Batch, Side, Table, own_tables

T = TypeVar("T")

_NAMES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_NUMBER = "SELECT pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass)"
_NUMBER_FROM = "SELECT setval(pg_get_serial_sequence($1, $2), $3)"


async def open_postgres_side(url: str, *, writes: bool) -> "PostgresSide":
    """The database. Raises `StoreUnavailable`."""
    options = {} if writes else {"default_transaction_read_only": "on"}
    with opening():
        return PostgresSide(await connect(url, command_seconds=COPY_SECONDS_MAX, options=options))


class PostgresSide(Side):
    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        with _faults():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                yield

    async def ask(self, operation: Op[T]) -> T:
        with _faults():
            return await drive(self._connection, operation)

    async def change(self, operation: Op[T]) -> T:
        with _faults():
            return await in_transaction(self._connection, operation)

    async def now(self) -> float:
        return await self.ask(health.time())

    async def names(self) -> Sequence[str]:
        with _faults():
            return [name for (name,) in await self._connection.fetch(_NAMES)]

    async def unbuilt(self) -> Sequence[str]:
        if "schema_version" not in await self.names():
            return ()
        return [index.name for index in await self.ask(unbuilt(POSTGRES))]

    async def batches(self, table: Table, after: Sequence[int | str] | None) -> AsyncGenerator[Sequence[Row], None]:
        sql = numbered(table.select(behind=after is not None), locks=False)
        with _faults():
            cursor = await self._connection.cursor(sql, *(after or ()))
            batch = Batch()
            while records := await cursor.fetch(COPY_FETCH_ROWS):
                for record in records:
                    if batch.add(tuple(record)):
                        yield batch.rows
                        batch = Batch()
            if batch.rows:
                yield batch.rows

    async def add(
        self, table: Table, rows: Sequence[Row], before: Op[None], after: Callable[[Sequence[Row]], Op[T]]
    ) -> T:
        with _faults():
            async with self._connection.transaction():
                # What a lost server takes of the copy is copied again: it takes the note of it too.
                await self._connection.execute("SET LOCAL synchronous_commit = off")
                await drive(self._connection, before)
                left_out = await self._insert(table, [tuple(map(stored, row)) for row in rows])
                return await drive(self._connection, after(left_out))

    async def _insert(self, table: Table, rows: Sequence[tuple[object, ...]]) -> Sequence[Row]:
        """The rows that are there already."""
        try:
            async with self._connection.transaction():
                await self._connection.copy_records_to_table(table.name, records=rows, columns=table.columns)
        except asyncpg.UniqueViolationError:
            if set(table.key) != set(table.columns):
                raise
        else:
            return []
        # Keys that differed in NUL alone are the same here, where the column cannot hold it, and say nothing new.
        sql = numbered(f"{table.insert()} ON CONFLICT DO NOTHING RETURNING 1", locks=False)
        return [row for row in rows if not await self._connection.fetch(sql, *row)]

    async def number(self, table: Table) -> int:
        if len(table.key) > 1:
            return 0
        key = table.key[0]
        with _faults():
            last = await self._connection.fetchval(_NUMBER, table.name, key)
            highest = await self._connection.fetchval(
                f"SELECT MAX({key}) FROM {table.name}"  # noqa: S608 - names of our own
            )
        return max(last or 0, highest if isinstance(highest, int) else 0)

    async def number_from(self, table: Table, number: int) -> None:
        with _faults():
            # NULL where the column is not numbered by the engine.
            await self._connection.fetchval(_NUMBER_FROM, table.name, table.key[0], number)

    async def settle(self) -> None:
        # The next `change` waits for the disk, and with it for all commits that did not.
        with _faults():
            await self._connection.execute("ANALYZE " + ", ".join(table.name for table in own_tables()))

    async def close(self) -> None:
        await self._connection.close()


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError) as error:
        # Further lines repeat what rows hold.
        raise StoreUnavailable(f"PostgreSQL cannot do this: {str(error).partition(chr(10))[0]}") from error
