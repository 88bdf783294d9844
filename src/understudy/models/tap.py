"""What arrives on a connection of aiohttp's, told at once rather than to a task that waits for it."""

import asyncio
from collections.abc import Callable
from typing import cast

import aiohttp


class Tap(asyncio.Protocol):
    """Stands in for the protocol of an answer's connection, hands everything on to it, and then calls back.

    What is called sees the answer's body as far as it has come, or its end, or how it broke off.
    """

    def __init__(self, transport: asyncio.Transport, arrived: Callable[[], None]) -> None:
        self._transport = transport
        self._inner = cast("asyncio.Protocol", transport.get_protocol())
        self._arrived = arrived
        transport.set_protocol(self)

    @classmethod
    def on(cls, response: aiohttp.ClientResponse, arrived: Callable[[], None]) -> "Tap | None":
        """`None` for an answer that has already come whole: its connection is somebody else's by now."""
        connection = response.connection
        if connection is None or connection.transport is None:
            return None
        tap = cls(connection.transport, arrived)
        response.content.on_eof(tap.remove)  # the connection is another answer's from then on
        return tap

    def remove(self) -> None:
        if self._transport.get_protocol() is self:
            self._transport.set_protocol(self._inner)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)
        self._arrived()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._arrived()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
