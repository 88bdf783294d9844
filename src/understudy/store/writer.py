"""SQLite's one writer: a thread that takes the operations that wait and commits them together.

A commit costs the disk one wait however much it holds, so many small writes are as durable and far cheaper in a group.
An operation that refuses or fails takes nothing of its group with it.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from understudy.core.limits import WRITE_GROUP_MAX, WRITE_QUEUE_MAX
from understudy.ports import StoreUnavailable
from understudy.store.operations import Op

T = TypeVar("T")


def drive(connection: sqlite3.Connection, operation: Op[T]) -> T:
    """Runs an operation to its result, or raises what it raises. Transactions are the caller's."""
    cursor = connection.cursor()
    try:
        query = next(operation)
        while True:
            cursor.execute(query.sql, query.params)
            query = operation.send(() if query.unread else cursor.fetchall())
    except StopIteration as end:
        return cast("T", end.value)


def engine_failed(error: Exception) -> bool:
    """Whether SQLite could not do its work (full disk, locked or broken file), rather than refuse this statement."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError) or type(error) is sqlite3.DatabaseError


class _Write:
    """An operation in the queue, and then what became of it."""

    __slots__ = ("error", "future", "operation", "result", "then")

    def __init__(
        self,
        operation: Callable[[], Op[object]],
        future: asyncio.Future[object],
        then: Callable[[Any], None] | None,
    ) -> None:
        self.operation = operation
        self.future = future
        self.then = then
        self.result: object = None
        self.error: Exception | None = None

    def attempt(self, connection: sqlite3.Connection) -> None:
        """Raises only when the engine fails: everything else is the operation's own outcome."""
        self.result = self.error = None
        try:
            self.result = drive(connection, self.operation())
        except Exception as error:
            if engine_failed(error):
                raise
            self.error = error

    def fail(self, error: sqlite3.Error) -> None:
        self.error = StoreUnavailable(f"SQLite cannot write: {error}")

    def settle(self) -> None:
        if self.error is not None:
            if not self.future.cancelled():
                self.future.set_exception(self.error)
            return
        if not self.future.cancelled():  # its caller went away; the write stands all the same
            self.future.set_result(self.result)
        if self.then is not None:
            self.then(self.result)


class Writer:
    """Owns a connection and its thread. To be used from the event loop that made it.

    The thread is a daemon, so that a program that dies before `close` is not kept alive: what it acknowledged is on
    the disk already.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        group_max: int = WRITE_GROUP_MAX,
        queue_max: int = WRITE_QUEUE_MAX,
    ) -> None:
        self._connection = connection
        self._group_max = group_max
        self._queue_max = queue_max
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._closing = False
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def write(self, operation: Callable[[], Op[T]], then: Callable[[T], None] | None = None) -> T:
        """The operation's result, once it is durable. `operation` makes it anew each time that it must run again.

        `then` is given the result even if the caller is cancelled meanwhile; in the order of the writes, and before
        the caller goes on.
        """
        if self._closing:
            raise StoreUnavailable("The store is closed.")
        if self._queue.qsize() >= self._queue_max:
            raise StoreUnavailable(f"More than {self._queue_max} writes are waiting.")
        future: asyncio.Future[object] = self._loop.create_future()
        self._queue.put(_Write(operation, future, then))
        return cast("T", await future)

    async def close(self) -> None:
        """Writes what waits, then ends the thread and the connection."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await self._ended.wait()
        self._thread.join()

    # --- in the thread

    def _work(self) -> None:
        more = True
        while more:
            group, more = self._take()
            if group:
                self._write_group(group)
                self._tell(group[0].settle if len(group) == 1 else partial(self._settle, group))
        self._connection.close()
        self._tell(self._ended.set)

    def _take(self) -> tuple[list[_Write], bool]:
        """Waits for a write and takes what waits beside it; and whether more may come."""
        group: list[_Write] = []
        with contextlib.suppress(Empty):
            while len(group) < self._group_max:
                write = self._queue.get(block=not group)
                if write is None:
                    return group, False
                group.append(write)
        return group, True

    def _tell(self, call: Callable[[], object]) -> None:
        # A loop that was closed first has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def _settle(self, group: Sequence[_Write]) -> None:
        """In the loop: one wake-up for all of them, and what one of them breaks is not the others'."""
        for write in group:
            self._loop.call_soon(write.settle)

    def _write_group(self, group: Sequence[_Write]) -> None:
        if len(group) > 1 and self._begin(group):
            try:
                for write in group:
                    self._connection.execute("SAVEPOINT one")
                    write.attempt(self._connection)
                    if write.error is not None:
                        self._connection.execute("ROLLBACK TO one")
                    self._connection.execute("RELEASE one")
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                # Nothing of the group was acknowledged. Alone, those that the engine can still do get done.
                self._roll_back()
                self._write_alone(group)
        elif len(group) == 1:
            self._write_alone(group)

    def _write_alone(self, writes: Sequence[_Write]) -> None:
        for number, write in enumerate(writes):
            if not self._begin(writes[number:]):
                return
            try:
                write.attempt(self._connection)
                self._connection.execute("COMMIT" if write.error is None else "ROLLBACK")
            except sqlite3.Error as error:
                write.fail(error)
                self._roll_back()

    def _begin(self, writes: Sequence[_Write]) -> bool:
        """Begins a transaction for them. When it cannot, they fail: whoever holds the lock was waited for already."""
        try:
            self._roll_back()
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            for write in writes:
                write.fail(error)
            return False
        return True

    def _roll_back(self) -> None:
        """Leaves no transaction open: it would keep the file locked. One that cannot be ended is tried again later."""
        if self._connection.in_transaction:  # SQLite ends a failed one by itself only at times
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
