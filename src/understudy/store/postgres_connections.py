"""A few connections to PostgreSQL that callers take in turn.

asyncpg's own pool costs a task, a proxy and a timer each time, which is more than a statement does; and nothing of a
session is ever changed here, so nothing need be put back between two callers.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from understudy.core.limits import POSTGRES_IDLE_SECONDS, POSTGRES_SECONDS_MAX

# What asyncpg fails with where PostgreSQL has not answered.
UNANSWERED: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
_FAREWELLS: Final = ("08", "57P", "25P03")  # of a server that stops, or that has ended a transaction that stood still


def is_lost(connection: asyncpg.Connection, error: Exception) -> bool:
    """Whether nothing more can be asked over the connection. Else the error was the statement's."""
    # A server that stops says so when nothing is expected of it, and the client loses its place.
    if isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError) or connection.is_closed():
        return True
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_FAREWELLS)


class Connections:
    """At most `connections_max`, opened when they are needed. Belongs to one event loop."""

    def __init__(self, begin_session: Callable[[], Awaitable[asyncpg.Connection]], connections_max: int) -> None:
        self._begin_session = begin_session
        self._connections_max = connections_max
        self._used = 0  # connections that somebody has or opens
        self._unused = asyncio.Event()
        self._idle: list[tuple[float, asyncpg.Connection]] = []  # since when; the longest first
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._closing = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for as long as it is needed. Raises `TimeoutError` when none can be had, and what asyncpg does.

        One that does not answer, or that its user leaves within a transaction, is not given to the next.
        """
        connection = await self._take()
        lost = False
        try:
            yield connection
        except Exception as error:
            lost = is_lost(connection, error)
            raise
        finally:
            if lost or connection.is_closed() or connection.is_in_transaction():
                connection.terminate()
                self._give_up()
            else:
                self._give_back(connection)

    async def _take(self) -> asyncpg.Connection:
        if self._closing:
            raise asyncpg.InterfaceError("the store is closed")
        while self._idle:
            _, connection = self._idle.pop()
            if not connection.is_closed():
                self._used += 1
                return connection
        if self._used < self._connections_max:
            self._used += 1
            return await self._open()
        return await self._in_turn() or await self._open()

    async def _in_turn(self) -> asyncpg.Connection | None:
        """A connection that was given back, or `None`: leave to open one."""
        turn: asyncio.Future[asyncpg.Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(POSTGRES_SECONDS_MAX):
                return await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # it came just then
                connection = turn.result()
                self._give_up() if connection is None else self._give_back(connection)
            raise

    async def _open(self) -> asyncpg.Connection:
        try:
            return await self._begin_session()
        except BaseException:
            self._give_up()
            raise

    def _give_back(self, connection: asyncpg.Connection) -> None:
        turn = self._next_in_turn()
        if turn is not None:
            turn.set_result(connection)
            return
        now = time.monotonic()
        self._idle.append((now, connection))
        if self._idle[0][0] < now - POSTGRES_IDLE_SECONDS:
            self._idle.pop(0)[1].terminate()
        self._leave()

    def _give_up(self) -> None:
        """A connection is no more: whoever waits may open one in its place."""
        turn = self._next_in_turn()
        if turn is not None:
            turn.set_result(None)
        else:
            self._leave()

    def _leave(self) -> None:
        self._used -= 1
        if self._used == 0:
            self._unused.set()

    def _next_in_turn(self) -> "asyncio.Future[asyncpg.Connection | None] | None":
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None

    async def close(self) -> None:
        """When all who have or wait for one have done with it."""
        self._closing = True
        if self._used:
            self._unused.clear()
            await self._unused.wait()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(one.close(timeout=POSTGRES_SECONDS_MAX) for _, one in idle), return_exceptions=True)
