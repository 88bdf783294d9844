"""A SQLite file as one side of a copy. Who reads is let in by SQLite as a reader only."""

import os
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from understudy.ports import StoreUnavailable
from understudy.store.operations import Op, Row
from understudy.store.sides import Batch, Side, Table
from understudy.store.sqlite import connect, in_transaction
from understudy.store.writer import drive

T = TypeVar("T")

_NAMES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_IS_NUMBERED = "SELECT 1 FROM sqlite_master WHERE name = ? AND sql LIKE '%AUTOINCREMENT%'"
_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = ?"


def open_sqlite_side(path: Path, *, writes: bool, lasting: bool) -> "SqliteSide":
    """The file, which must be there. Raises `StoreUnavailable`.

    Beside a file that nobody has open, a lasting reader leaves an empty `-wal` and a `-shm`, which SQLite's next writer
    removes. One that is not lasting, or may not write there, reads it as a file that does not change.
    """
    if not path.is_file():
        raise StoreUnavailable(f"There is no database {path}")
    mode = "rw" if writes else "ro"
    is_open = path.with_name(path.name + "-wal").exists()
    if not writes and not is_open and not (lasting and os.access(path.parent, os.W_OK)):
        mode += "&immutable=1"
    with _faults(path):
        connection = connect(f"{path.absolute().as_uri()}?mode={mode}")
        if writes:
            # What a power failure takes of the copy is copied again: it takes the note of it too.
            connection.execute("PRAGMA synchronous = NORMAL")
        return SqliteSide(path, connection)


class SqliteSide(Side):
    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        with _faults(self._path):
            self._connection.execute("BEGIN")
            self._connection.execute(_NAMES).fetchall()
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    async def ask(self, operation: Op[T]) -> T:
        with _faults(self._path):
            return drive(self._connection, operation)

    async def change(self, operation: Op[T]) -> T:
        with _faults(self._path):
            return in_transaction(self._connection, operation)

    async def now(self) -> float:
        return time.time()

    async def names(self) -> Sequence[str]:
        with _faults(self._path):
            return [name for (name,) in self._connection.execute(_NAMES)]

    async def unbuilt(self) -> Sequence[str]:
        return ()  # a step has built them, or was not taken

    async def batches(self, table: Table, after: Sequence[int | str] | None) -> AsyncGenerator[Sequence[Row], None]:
        with _faults(self._path):
            batch = Batch()
            for row in self._connection.execute(table.select(behind=after is not None), after or ()):
                if batch.add(row):
                    yield batch.rows
                    batch = Batch()
            if batch.rows:
                yield batch.rows

    async def add(
        self, table: Table, rows: Sequence[Row], before: Op[None], after: Callable[[Sequence[Row]], Op[T]]
    ) -> T:
        def added() -> Op[T]:
            yield from before
            self._connection.executemany(table.insert(), rows)
            return (yield from after([]))

        return await self.change(added())

    async def number(self, table: Table) -> int:
        with _faults(self._path):
            if len(table.key) > 1:
                return 0
            rows = self._connection.execute(_NUMBER, (table.name,)).fetchall() if self._is_numbered(table) else []
            rows += self._connection.execute(
                f"SELECT MAX({table.key[0]}) FROM {table.name}"  # noqa: S608 - names of our own
            ).fetchall()
        return max((number for (number,) in rows if isinstance(number, int)), default=0)

    async def number_from(self, table: Table, number: int) -> None:
        with _faults(self._path):
            # Elsewhere SQLite takes the next number behind the highest by itself.
            if self._is_numbered(table):
                self._connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
                self._connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, number))

    async def settle(self) -> None:
        with _faults(self._path):
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    async def close(self) -> None:
        self._connection.close()

    def _is_numbered(self, table: Table) -> bool:
        return bool(self._connection.execute(_IS_NUMBERED, (table.name,)).fetchall())


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"The database {path} cannot be used: {error}") from error
