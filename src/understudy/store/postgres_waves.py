"""How an operation's statements reach PostgreSQL in few round trips.

A round trip costs this process more than the statement in it. So statements whose rows nobody reads are held back until
there is something to send them with: those about different tables become one statement, as `WITH one AS (...), two AS
(...) three`. PostgreSQL runs all of these on what was there before any of them, so statements about the same table
never go together, and keep their order.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Final, TypeAlias, TypeVar, cast

import asyncpg

from understudy.store.operations import Op, Query, Row
from understudy.store.postgres_connections import is_lost

T = TypeVar("T")

Wave: TypeAlias = list[Query]  # about different tables, each

# Where a table is named in our SQL. What a column's alias may add to them only keeps statements apart.
_TABLE: Final = re.compile(r"\b(?:INTO|UPDATE|FROM|JOIN)\s+(\w+)")
_ALIKE_MIN: Final = 3  # statements of the same text that go to PostgreSQL as one with many parameters


class Waves:
    """Statements that wait: each goes to PostgreSQL with the others of its wave, wave after wave."""

    def __init__(self) -> None:
        self._waves: list[Wave] = []
        self._tables: list[set[str]] = []

    def add(self, query: Query) -> None:
        touched = tables(query.sql)
        place = len(self._waves)
        while place > 0 and not self._tables[place - 1] & touched:
            place -= 1
        if place == len(self._waves):
            self._waves.append([])
            self._tables.append(set())
        self._waves[place].append(query)
        self._tables[place] |= touched

    def take(self, last: Query | None) -> list[Wave]:
        """All that wait, and the last one with or behind them: waves in order, each to be made one statement."""
        waves, touched = self._waves, self._tables
        if last is not None:
            # One that begins with CTEs of its own stands alone.
            if not waves or touched[-1] & tables(last.sql) or last.sql.startswith("WITH"):
                waves.append([last])
            else:
                waves[-1].append(last)
        self._waves, self._tables = [], []
        return waves


async def in_transaction(connection: asyncpg.Connection, operation: Op[T], *, first: str = "") -> T:
    """The operation's result, once it is durable. A connection that was lost is left within the transaction."""
    async with transaction(connection, first):
        return await drive(connection, operation)


@asynccontextmanager
async def transaction(connection: asyncpg.Connection, first: str = "") -> AsyncIterator[None]:
    """Durable at its end. `first` is a statement to begin with."""
    await connection.execute(f"BEGIN; {first}" if first else "BEGIN")
    try:
        yield
    except Exception as error:
        if not is_lost(connection, error):
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


async def drive(connection: asyncpg.Connection, operation: Op[T]) -> T:
    """Runs an operation to its result, or raises what it raises. Transactions are the caller's."""
    waves = Waves()
    try:
        query = next(operation)
        while True:
            if query.unread:
                waves.add(query)
                query = operation.send(())
            else:
                query = operation.send(await _send(connection, waves.take(query)))
    except StopIteration as end:
        await _send(connection, waves.take(None))
        return cast("T", end.value)


async def _send(connection: asyncpg.Connection, waves: Sequence[Wave]) -> Sequence[Row]:
    if len(waves) >= _ALIKE_MIN and _alike(waves):
        await send_alike(connection, waves)
        return ()
    rows: Sequence[Row] = ()
    for wave in waves:
        rows = await send(connection, wave)
    return rows


async def send(connection: asyncpg.Connection, wave: Wave) -> Sequence[Row]:
    """One round trip; the rows of the wave's last query."""
    return cast("Sequence[Row]", await connection.fetch(text(wave), *_parameters(wave)))


async def send_alike(connection: asyncpg.Connection, waves: Sequence[Wave]) -> Sequence[Row]:
    """One round trip for waves of the same text: all their rows, or none of waves that nobody reads."""
    parameters = [_parameters(wave) for wave in waves]
    if waves[0][-1].unread:
        await connection.executemany(text(waves[0]), parameters)
        return ()
    return cast("Sequence[Row]", await connection.fetchmany(text(waves[0]), parameters))


def text(wave: Wave) -> str:
    """One statement of all of the wave's, with the rows of the last one."""
    return _merged(tuple([query.sql for query in wave]), wave[-1].locks)


@cache
def tables(sql: str) -> frozenset[str]:
    """Every table that a statement names."""
    return frozenset(_TABLE.findall(sql))


@cache
def _merged(texts: tuple[str, ...], locks: bool) -> str:
    *others, last = texts
    named = ", ".join(f"wave_{number} AS ({text})" for number, text in enumerate(others))
    return numbered(f"WITH {named} {last}" if others else last, locks)


def numbered(sql: str, locks: bool) -> str:
    """The statement with PostgreSQL's parameters: `$1` and on for each `?`."""
    pieces = sql.split("?")
    text = pieces[0] + "".join(f"${number}{piece}" for number, piece in enumerate(pieces[1:], 1))
    return f"{text} FOR UPDATE" if locks else text


def _alike(waves: Sequence[Wave]) -> bool:
    return all(wave[-1].unread and text(wave) == text(waves[0]) for wave in waves)


def _parameters(wave: Wave) -> list[object]:
    return [stored(value) for query in wave for value in query.params]


def stored(value: object) -> object:
    """Text without what PostgreSQL cannot keep in any: NUL. Objects are stored as JSON bytes, which lose nothing."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
