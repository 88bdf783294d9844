"""What arrives on a connection of aiohttp's, told at once rather than to a task that waits for it."""

import asyncio
from collections.abc import Callable
from typing import cast

import aiohttp

_SIZE_BYTES_MAX = 8  # of a chunk's size as it is written


class Tap(asyncio.Protocol):
    """Stands in for the protocol of an answer's connection until the answer is over.

    It hands everything on to that protocol and calls `arrived(b"")` behind it: more of the body may have come, or its
    end, or it broke off. A piece of the body that came alone in a chunk of HTTP's it offers to `arrived` directly, as a
    token usually comes, and spares aiohttp's buffers where that answers `True`.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, transport: asyncio.Transport, arrived: Callable[[bytes], bool]
    ) -> None:
        self._content = response.content
        self._transport = transport
        self._inner = cast("asyncio.Protocol", transport.get_protocol())
        self._arrived = arrived
        self._plain = "Content-Encoding" not in response.headers
        self._between_chunks = False  # as far as aiohttp's parser has come
        transport.set_protocol(self)
        self._content.on_eof(self.remove)  # the connection is another answer's from then on

    @classmethod
    def on(cls, response: aiohttp.ClientResponse, arrived: Callable[[bytes], bool]) -> "Tap | None":
        """`None` for an answer that has already come whole: its connection is somebody else's by now."""
        connection = response.connection
        if connection is None or connection.transport is None:
            return None
        return cls(response, connection.transport, arrived)

    def remove(self) -> None:
        if self._transport.get_protocol() is self:
            self._transport.set_protocol(self._inner)

    def data_received(self, data: bytes) -> None:
        # A piece that is one chunk of HTTP's, neither more nor less (RFC 9112 section 7.1).
        end = data.find(b"\r\n", 0, _SIZE_BYTES_MAX + 2)
        length = len(data) - end - 4
        whole = end > 0 < length and data.endswith(b"\r\n") and data[:end].lower() == b"%x" % length
        piece = data[end + 2 : -2] if whole else b""
        if piece and self._between_chunks and self._arrived(piece):
            return  # which the parser need not know: it is between two chunks as before
        before = self._content.total_bytes
        self._inner.data_received(data)
        # A parser that has taken the chunk's frame for one was between two chunks, and is again.
        self._between_chunks = self._plain and piece != b"" and self._content.total_bytes - before == len(piece)
        self._arrived(b"")

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._arrived(b"")

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
