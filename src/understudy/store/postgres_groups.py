"""Writes that come together reach PostgreSQL together.

A write that finds nobody before it goes at once. Those that come meanwhile wait, and then are one transaction: one wait
for the disk, and for as many of their statements as are alike one round trip. They take their steps side by side, so
only writes may share a group that have no row in common: each is about one thread, and no two about the same.

What goes wrong for one of them, as a refusal or a row that another process has locked, undoes the group. Then each of
its writes is done by itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, TypeVar, cast

import asyncpg

from understudy.core.limits import POSTGRES_GROUPS_MAX, POSTGRES_LOCK_SECONDS, WRITE_GROUP_MAX, WRITE_QUEUE_MAX
from understudy.ports import StoreUnavailable
from understudy.store.operations import Op, Query, Row
from understudy.store.postgres_connections import is_lost
from understudy.store.postgres_waves import Wave, Waves, send, send_alike, text, transaction

T = TypeVar("T")

# What another process has locked must not keep a whole group.
_LOCK_BRIEFLY: Final = f"SET LOCAL lock_timeout = {round(1000 * POSTGRES_LOCK_SECONDS)}"


class _Undone(Exception):
    """The group cannot go on together. Nothing of it is written."""


class GroupedWrite:
    """An operation that waits, and then what became of it. `about` is the thread whose rows it reads and changes."""

    __slots__ = ("about", "future", "operation", "then")

    def __init__(self, about: str, operation: Callable[[], Op[object]], then: Callable[[Any], None] | None) -> None:
        self.about = about
        self.operation = operation
        self.then = then
        self.future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def succeed(self, result: object) -> None:
        if not self.future.cancelled():  # its caller went away; the write stands all the same
            self.future.set_result(result)
        if self.then is not None:
            self.then(result)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Groups:
    """Belongs to one event loop. `alone` does an operation in a transaction of its own."""

    def __init__(
        self,
        connection: Callable[[], AbstractAsyncContextManager[asyncpg.Connection]],
        alone: Callable[[Callable[[], Op[object]]], Coroutine[None, None, object]],
        *,
        groups_max: int = POSTGRES_GROUPS_MAX,
        group_max: int = WRITE_GROUP_MAX,
        queue_max: int = WRITE_QUEUE_MAX,
    ) -> None:
        self._connection = connection
        self._alone = alone
        self._groups_max = groups_max
        self._group_max = group_max
        self._queue_max = queue_max
        self._waiting: deque[GroupedWrite] = deque()
        # Behind the write about a thread that waits or is being done: the others about the same.
        self._behind: dict[str, deque[GroupedWrite]] = {}
        self._unsettled = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._groups = 0

    async def write(self, about: str, operation: Callable[[], Op[T]], then: Callable[[T], None] | None = None) -> T:
        """The operation's result, once it is durable. Writes about the same are done in the order of the calls."""
        if self._unsettled >= self._queue_max:
            raise StoreUnavailable(f"More than {self._queue_max} writes are waiting.")
        self._unsettled += 1
        write = GroupedWrite(about, operation, then)
        if about in self._behind:
            self._behind[about].append(write)
        else:
            self._behind[about] = deque()
            self._waiting.append(write)
            self._go_on()
        return cast("T", await write.future)

    async def close(self) -> None:
        """When all is written that was given to write."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _go_on(self) -> None:
        while self._waiting and self._groups < self._groups_max:
            self._groups += 1
            self._spawn(self._do(self._next()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="postgres-write")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next(self) -> Sequence[GroupedWrite]:
        """What waits, in order: no two writes about the same thread."""
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._group_max))]

    async def _do(self, group: Sequence[GroupedWrite]) -> None:
        connected = False
        try:
            async with self._connection() as connection:
                connected = True
                while group:
                    await self._commit(connection, group)
                    group = self._next()
        except Exception as error:
            # Where there is no PostgreSQL, those behind the group would each wait for it again.
            self._give_up(group, error, all_others=not connected)
        finally:
            self._groups -= 1
            self._go_on()

    async def _commit(self, connection: asyncpg.Connection, group: Sequence[GroupedWrite]) -> None:
        try:
            members = await _together(connection, group)
        except Exception as error:
            if is_lost(connection, error):
                raise
            for write in group:
                self._spawn(self._do_alone(write))
            return
        for member in members:
            self._settle(member.write, member.settle)

    def _settle(self, write: GroupedWrite, settle: Callable[[], None]) -> None:
        # Called by the loop, which tells of what `then` may raise: that is none of the other writes'.
        asyncio.get_running_loop().call_soon(settle)
        self._unsettled -= 1
        behind = self._behind[write.about]
        if behind:
            self._waiting.append(behind.popleft())
        else:
            del self._behind[write.about]

    async def _do_alone(self, write: GroupedWrite) -> None:
        try:
            result = await self._alone(write.operation)
        except Exception as error:
            self._settle(write, partial(write.fail, error))
        else:
            self._settle(write, partial(write.succeed, result))
        self._go_on()

    def _give_up(self, group: Sequence[GroupedWrite], error: Exception, *, all_others: bool) -> None:
        for write in group:
            self._settle(write, partial(write.fail, error))
        while all_others and self._waiting:
            write = self._waiting.popleft()
            self._settle(write, partial(write.fail, error))


class _Member:
    """A write within a group: where its operation is."""

    def __init__(self, write: GroupedWrite) -> None:
        self.write = write
        self.rows: Sequence[Row] | None = None  # what its query found; `None`: it has not begun
        self._operation = write.operation()
        self._waves = Waves()
        self._wrote = False
        self._ended = False
        self._result: object = None
        self._error: Exception | None = None

    def step(self) -> list[Wave]:
        """What it sends next; nothing at its end. Raises `_Undone` where what it did must be taken back."""
        if self._ended:
            return []
        query: Query | None = None
        try:
            query = next(self._operation) if self.rows is None else self._operation.send(self.rows)
            while query.unread:
                self._waves.add(query)
                query = self._operation.send(())
        except StopIteration as end:
            self._ended, self._result, query = True, end.value, None
        except Exception as error:
            if self._wrote:
                raise _Undone from error
            self._ended, self._error = True, error
            return []
        waves = self._waves.take(query)
        self._wrote = self._wrote or any(not one.sql.startswith("SELECT") for wave in waves for one in wave)
        return waves

    def settle(self) -> None:
        if self._error is None:
            self.write.succeed(self._result)
        else:
            self.write.fail(self._error)


async def _together(connection: asyncpg.Connection, group: Sequence[GroupedWrite]) -> Sequence[_Member]:
    """Does the writes in one transaction. Raises `_Undone`, and what asyncpg raises."""
    # In one order in all processes, so that two groups that want the same rows wait and do not lock each other out.
    members = [_Member(write) for write in sorted(group, key=lambda write: write.about)]
    async with transaction(connection, _LOCK_BRIEFLY):
        while steps := [(member, waves) for member in members if (waves := member.step())]:
            for number in range(max(len(waves) for _, waves in steps)):
                await _send_all(connection, [(one, waves[number]) for one, waves in steps if number < len(waves)])
    return members


async def _send_all(connection: asyncpg.Connection, sent: Sequence[tuple[_Member, Wave]]) -> None:
    alike: dict[str, list[tuple[_Member, Wave]]] = {}
    for member, wave in sent:
        alike.setdefault(text(wave), []).append((member, wave))
    for some in alike.values():
        last = some[0][1][-1]
        if len(some) == 1 or not (last.unread or last.single):
            for member, wave in some:
                member.rows = await send(connection, wave)
            continue
        rows = await send_alike(connection, [wave for _, wave in some])
        if rows and len(rows) != len(some):
            raise _Undone  # whose they are cannot be told
        for place, (member, _) in enumerate(some):
            member.rows = rows[place : place + 1]
