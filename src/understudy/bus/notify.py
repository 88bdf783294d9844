"""A link over PostgreSQL alone: LISTEN and NOTIFY. It carries wake-ups; what happened is read from the fact log."""

import asyncio
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from understudy.core.limits import LINK_CONNECT_SECONDS, LINK_RETRY_SECONDS
from understudy.ports import StoreUnavailable

log = structlog.get_logger()

_CHANNEL: Final = "understudy_bus"
_NOTIFY: Final = "SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message"
_PAYLOAD_MAX: Final = 7_000  # characters; PostgreSQL refuses 8000
_QUEUE_MAX: Final = 10_000


class NotifyLink:
    carries_frames = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._queue: deque[str] = deque(maxlen=_QUEUE_MAX)
        self._to_send = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self, node: str, take: Callable[[bytes], None], joined: Callable[[], None]) -> None:
        connection = await self._connect(node, take)
        joined()
        self._task = asyncio.create_task(self._work(connection, node, take, joined), name="notify-link")

    async def _connect(self, node: str, take: Callable[[bytes], None]) -> asyncpg.Connection:
        def heard(_: object, __: int, ___: str, payload: object) -> None:
            to, _, message = str(payload).partition(" ")
            if to in ("*", node):
                take(b64decode(message))

        try:
            connection = await asyncpg.connect(
                self._url, timeout=LINK_CONNECT_SECONDS, command_timeout=LINK_CONNECT_SECONDS
            )
            await connection.add_listener(_CHANNEL, heard)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise StoreUnavailable(f"PostgreSQL cannot be reached: {error}") from error
        return connection

    def send(self, to: str | None, message: bytes) -> None:
        payload = f"{to or '*'} {b64encode(message).decode()}"
        if len(payload) <= _PAYLOAD_MAX:
            self._queue.append(payload)
            self._to_send.set()

    async def _work(
        self, connection: asyncpg.Connection, node: str, take: Callable[[bytes], None], joined: Callable[[], None]
    ) -> None:
        while True:
            try:
                await self._deliver(connection)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("bus_link_lost", reason=str(error))
            finally:
                connection.terminate()
            connection = await self._connect_again(node, take)
            joined()

    async def _connect_again(self, node: str, take: Callable[[bytes], None]) -> asyncpg.Connection:
        while True:
            await asyncio.sleep(LINK_RETRY_SECONDS)
            try:
                return await self._connect(node, take)
            except StoreUnavailable as error:
                log.info("bus_link_not_back", reason=str(error))

    async def _deliver(self, connection: asyncpg.Connection) -> None:
        lost = asyncio.get_running_loop().create_future()
        connection.add_termination_listener(lambda _: None if lost.done() else lost.set_result(None))
        while not lost.done():
            waiting = asyncio.ensure_future(self._to_send.wait())
            await asyncio.wait([waiting, lost], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            self._to_send.clear()
            if self._queue and not lost.done():
                batch, self._queue = list(self._queue), deque(maxlen=_QUEUE_MAX)
                await connection.execute(_NOTIFY, _CHANNEL, batch)
        raise ConnectionResetError("the connection was closed")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
