"""HTTP as uvicorn speaks it, with bounds on what comes before a request's body: nobody has shown a key yet.

And with fewer system calls: an answer's head goes out with its body's beginning.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from understudy.api.sse import LINE
from understudy.core.limits import HEAD_BYTES_MAX, HEAD_SECONDS

_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
)
_BODY: Final = (
    b'{"error":{"message":"The request\'s headers are too large.","type":"invalid_request_error",'
    b'"param":null,"code":null}}'
)


class BoundedHttp(HttpToolsProtocol):
    """Refuses a request whose head is too long, and drops a connection that takes too long over one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._when_lost: set[Callable[[], None]] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)
        for call in tuple(self._when_lost):
            call()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEAD_BYTES_MAX:
            self._stop_waiting()
            self.transport.write(_TOO_LARGE % (len(_BODY), _BODY))
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()
        cycle = self.cycle
        cycle.transport = cast("asyncio.Transport", _Head(cycle, self.loop))
        self.scope[LINE] = _Line(cycle, self._when_lost)  # type: ignore[typeddict-unknown-key]

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()


class _Head:
    """Takes the place of a cycle's transport until the answer's head is written: that waits for what follows it.

    No longer than to the loop's next step, where it goes out alone.
    """

    def __init__(self, cycle: RequestResponseCycle, loop: asyncio.AbstractEventLoop) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._loop = loop
        self._head: bytes | None = None
        self._flush: asyncio.Handle | None = None

    def write(self, written: bytes) -> None:
        if self._head is not None:
            self._end(written)
        elif self._cycle.response_started:
            self._head = written
            self._flush = self._loop.call_soon(self._end)
        else:
            self._transport.write(written)  # "100 Continue": the client waits for it

    def close(self) -> None:
        self._end()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _end(self, follows: bytes = b"") -> None:
        head, self._head = self._head or b"", None
        self._cycle.transport = self._transport
        if self._flush is not None:
            self._flush.cancel()
        if (head or follows) and not self._transport.is_closing():
            self._transport.write(head + follows)


class _Line:
    """An `api.sse.Line`: of one request on a connection."""

    def __init__(self, cycle: RequestResponseCycle, when_lost: set[Callable[[], None]]) -> None:
        self._cycle = cycle
        self._when_lost = when_lost

    def write_now(self, piece: bytes) -> bool:
        """What `cycle.send` does with a piece of a body that more will follow, unless it would have to wait."""
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete or not cycle.chunked_encoding:
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def when_lost(self, call: Callable[[], None]) -> Callable[[], None]:
        cycle = self._cycle
        if cycle.disconnected:
            call()
        else:
            cycle.flow.resume_reading()  # or nobody would notice; a long body has stopped it
            self._when_lost.add(call)
        return partial(self._when_lost.discard, call)
