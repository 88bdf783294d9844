"""The SQLite engine: one file, one writing thread, and readers that never wait for it (WAL)."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, TypeVar

from understudy.core.limits import MIGRATION_SECONDS_MAX
from understudy.ports import StoreUnavailable
from understudy.store.dialect import Dialect
from understudy.store.migrations import MIGRATIONS, Migration, migrate_once, refuse_unfinished_copy
from understudy.store.operations import Op
from understudy.store.rows import RowStore
from understudy.store.writer import Writer, drive, engine_failed

T = TypeVar("T")

SQLITE: Final = Dialect(
    sequence="INTEGER PRIMARY KEY AUTOINCREMENT",
    order="INTEGER PRIMARY KEY",  # a page less to write in each commit that adds a row
    integer="INTEGER",
    real="REAL",
    bytes="BLOB",
    table_options="STRICT",
    key_table_options="STRICT, WITHOUT ROWID",
)
LOCKED_SECONDS_MAX: Final = 5.0  # how long another process may hold the file's lock before a write fails
STATEMENTS_CACHED: Final = 256
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024  # what a large transaction leaves of the log's file


class SqliteStore(RowStore):
    """`ports.Store` on one SQLite file. `open_sqlite` makes it; it belongs to the event loop that did.

    Reads run where they are called: WAL readers wait for nobody, and a point read costs less than a change of thread.
    Only those of whole indexes go to a thread, one after the other, on a connection of their own.
    """

    def __init__(self, reader: sqlite3.Connection, long_reader: sqlite3.Connection, writer: Writer) -> None:
        self._reader = reader
        self._long_reader = long_reader
        self._long_read = threading.Lock()
        self._writer = writer

    async def _read(self, operation: Op[T]) -> T:
        return _read(self._reader, operation)

    async def _read_long(self, operation: Op[T]) -> T:
        def read() -> T:
            # Held in the thread: a caller that is cancelled is gone before its read has ended.
            with self._long_read:
                return _read(self._long_reader, operation)

        return await asyncio.to_thread(read)

    async def _write(
        self,
        operation: Callable[[], Op[T]],
        then: Callable[[T], None] | None = None,
        *,
        about: str | None = None,  # noqa: ARG002 - one writer does all in turn
    ) -> T:
        return await self._writer.write(operation, then)

    async def close(self) -> None:
        """What was given to write is written first."""
        await self._writer.close()
        self._reader.close()

        def close_long_reader() -> None:
            with self._long_read:
                self._long_reader.close()

        await asyncio.to_thread(close_long_reader)


async def open_sqlite(path: Path, *, pages_max: int | None = None) -> SqliteStore:
    """The store in this file, which is made when there is none, with its tables up to date.

    `pages_max` bounds the file, in pages of 4096 bytes: writes beyond it fail as they do on a full disk. Raises
    `UnusableDatabase`; `StoreUnavailable` when the file cannot be opened, is no database, or its disk allows no WAL.
    """
    reader, long_reader, connection = await asyncio.to_thread(_open, path, pages_max)
    return SqliteStore(reader, long_reader, Writer(connection))


def upgrade_sqlite(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> Sequence[int]:
    """The versions behind the steps that this call took; several processes may ask at once.

    The file is made when there is none. Raises as `open_sqlite`.
    """
    try:
        _make_file(path)
        with closing(connect(path, locked_seconds=MIGRATION_SECONDS_MAX)) as connection:
            _enter_wal(connection)
            return migrate(connection, migrations)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"The database {path} cannot be opened: {error}") from error


def _read(connection: sqlite3.Connection, operation: Op[T]) -> T:
    try:
        return drive(connection, operation)
    except sqlite3.Error as error:
        if engine_failed(error):
            raise StoreUnavailable(f"SQLite cannot read: {error}") from error
        raise


def _open(path: Path, pages_max: int | None) -> tuple[sqlite3.Connection, sqlite3.Connection, sqlite3.Connection]:
    """Two connections that read and one that writes."""
    with ExitStack() as opened:
        try:
            _make_file(path)
            writer = opened.enter_context(closing(connect(path)))
            _prepare(writer, pages_max)
            reader, long_reader = (opened.enter_context(closing(connect(path))) for _ in range(2))
            for one in (reader, long_reader):
                one.execute("PRAGMA query_only = ON")
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"The database {path} cannot be opened: {error}") from error
        opened.pop_all()
    return reader, long_reader, writer


def _make_file(path: Path) -> None:
    # Not by SQLite, which would make it readable by everybody. Its log takes the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def connect(path: Path | str, *, locked_seconds: float = LOCKED_SECONDS_MAX) -> sqlite3.Connection:
    """A connection whose transactions are the caller's; to a `file:` URI where the path is a text."""
    # Opened in one thread and used in another, but never in two at once.
    return sqlite3.connect(
        path,
        timeout=locked_seconds,
        uri=isinstance(path, str),
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS_CACHED,
    )


def _prepare(connection: sqlite3.Connection, pages_max: int | None) -> None:
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    # Savepoints note the pages as they were: in memory, not in a file of their own.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    migrate(connection)
    drive(connection, refuse_unfinished_copy())
    if pages_max is not None:
        connection.execute(f"PRAGMA max_page_count = {pages_max}")


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> Sequence[int]:
    taken = []
    while version := in_transaction(connection, migrate_once(SQLITE, migrations)):
        taken.append(version)
    return taken


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switches the file over, for good. SQLite does not wait for the lock that this takes, so we do."""
    deadline = time.monotonic() + LOCKED_SECONDS_MAX
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            break
    if mode != "wal":
        raise sqlite3.OperationalError("its file system does not support a write-ahead log")


def in_transaction(connection: sqlite3.Connection, operation: Op[T]) -> T:
    """Runs an operation and commits it, or raises what it raises and leaves nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = drive(connection, operation)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result
