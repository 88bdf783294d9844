"""A database as `understudy db` sees it: tables and rows as they are, without what the store makes of them."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from understudy.core.limits import COPY_BATCH_BYTES, COPY_BATCH_ROWS
from understudy.ports import StoreUnavailable
from understudy.store.migrations import Schema, schema
from understudy.store.operations import Op, Query, Row
from understudy.store.sqlite import connect, migrate

T = TypeVar("T")

# What a database says of itself, and not of an installation.
_NOT_COPIED: Final = frozenset({"schema_version", "copied"})
_COLUMNS = (
    "SELECT m.name, c.name, c.pk FROM sqlite_master m JOIN pragma_table_info(m.name) c "
    "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, c.cid"
)


class Table(Struct, frozen=True):
    """`key` are the columns of the primary key. Names are our own, so they may stand in SQL."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def select(self, *, behind: bool) -> str:
        """All rows in the order of their key; with `behind`, those behind the key that is given."""
        columns, key = ", ".join(self.columns), ", ".join(self.key)
        where = f"WHERE ({key}) > ({', '.join('?' * len(self.key))})" if behind else ""
        return f"SELECT {columns} FROM {self.name} {where} ORDER BY {key}"  # noqa: S608 - names of our own

    def insert(self) -> str:
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"  # noqa: S608 - names of our own

    def key_of(self, row: Row) -> tuple[int | str, ...]:
        return tuple(row[self.columns.index(name)] for name in self.key)


class Side(Protocol):
    """One database. What only reads changes nothing in it, not even to bring it up to date.

    Everything raises `StoreUnavailable` where the engine is at fault.
    """

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """All that is read within is of one moment, however long it takes."""

    async def ask(self, operation: Op[T]) -> T:
        """What an operation that reads says."""

    async def change(self, operation: Op[T]) -> T:
        """In a transaction."""

    async def now(self) -> float:
        """The time that its servers agree on, in Unix seconds."""

    async def names(self) -> Sequence[str]:
        """Of the tables that are there."""

    async def unbuilt(self) -> Sequence[str]:
        """The indexes that this program's steps have left to be built, or that are being built."""

    def batches(self, table: Table, after: Sequence[int | str] | None) -> AsyncGenerator[Sequence[Row], None]:
        """The table's rows behind this key, in the order of their keys, so many at a time as memory is meant to hold.

        Within a `snapshot`.
        """

    async def add(
        self, table: Table, rows: Sequence[Row], before: Op[None], after: Callable[[Sequence[Row]], Op[T]]
    ) -> T:
        """What `after` says, with the rows and what both operations change written in one transaction.

        `after` is given the rows that this engine cannot tell from others: of texts that differ in NUL alone.
        """

    async def number(self, table: Table) -> int:
        """The highest that the table's rows were ever numbered with; 0: they are not, or there were none."""

    async def number_from(self, table: Table, number: int) -> None:
        """Later rows are numbered higher than this."""

    async def settle(self) -> None:
        """Sees to what was added being found quickly, and being durable with the next `change`."""

    async def close(self) -> None: ...


async def open_side(database: Path | str, *, writes: bool = False, lasting: bool = True) -> Side:
    """The database in this SQLite file, or of this `postgresql://` URL, as it is.

    Not `lasting`: it is looked at for a moment, and leaves no trace beside its file. Raises `StoreUnavailable`.
    """
    if isinstance(database, Path):
        from understudy.store.side_sqlite import open_sqlite_side

        return open_sqlite_side(database, writes=writes, lasting=lasting)
    try:
        from understudy.store.side_postgres import open_postgres_side
    except ImportError as error:
        raise StoreUnavailable("PostgreSQL needs its client: pip install 'understudy[scale]'") from error
    return await open_postgres_side(database, writes=writes)


def own_tables() -> Sequence[Table]:
    """The tables of an installation as this program makes them, in any engine."""
    with closing(connect(":memory:")) as connection:
        migrate(connection)
        rows = connection.execute(_COLUMNS).fetchall()
    names = list(dict.fromkeys(name for name, _, _ in rows if name not in _NOT_COPIED))
    return [
        Table(
            name=name,
            columns=tuple(column for table, column, _ in rows if table == name),
            key=tuple(
                column for _, column in sorted((pk, column) for table, column, pk in rows if table == name and pk)
            ),
        )
        for name in names
    ]


async def schema_of(side: Side) -> Schema:
    """Of a database that may be empty."""
    if "schema_version" not in await side.names():
        return Schema(version=0)
    return await side.ask(schema())


def row_counts(tables: Iterable[str]) -> Op[dict[str, int]]:
    """How many rows each of them has."""
    counts = {}
    for table in tables:
        rows = yield Query(f"SELECT COUNT(*) FROM {table}")  # noqa: S608 - names of our own
        counts[table] = int(rows[0][0])
    return counts


class Batch:
    """Rows up to what a copy holds at a time."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._bytes = 0

    def add(self, row: Row) -> bool:
        """Whether it is full now."""
        self.rows.append(row)
        self._bytes += sum(len(value) for value in row if isinstance(value, bytes | str))
        return len(self.rows) == COPY_BATCH_ROWS or self._bytes >= COPY_BATCH_BYTES
