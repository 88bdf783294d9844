"""The event stream's answer: frames as they come, a comment now and then, and an end that is never silent."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from understudy.api.respond import error_envelope
from understudy.core import errors
from understudy.core.limits import PING_SECONDS
from understudy.engine.frames import DONE, sse_error
from understudy.engine.stream import RunStream

LINE: Final = "understudy.line"  # the key of a scope under which the server may have a `Line`

_PING = b": ping\n\n"


class Line(Protocol):
    """A client's connection, for what ASGI would wake a task for."""

    def write_now(self, piece: bytes) -> bool:
        """Sends a piece of the answer's body at once. `False`: that must wait, or must not be."""

    def when_lost(self, call: Callable[[], None]) -> Callable[[], None]:
        """Calls back once the client has left, until the function that it returns is called."""


class EventStream(Response):
    """Streams a run until it rests. A client that leaves ends the stream, never the run."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(self, stream: RunStream, *, first: bytes = b"") -> None:
        self._stream = stream
        self._first = first
        self.status_code = 200
        self.background: BackgroundTask | None = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line: Line | None = scope.get(LINE)
        stop = self._watch(receive, send) if line is None else self._watch_line(line)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._relay(send, None if line is None else line.write_now)
        except asyncio.CancelledError:
            # The server is being stopped, and has waited for this stream for long enough.
            await send(_end(b"", errors.stream_broken()))
            raise
        finally:
            stop()
            self._stream.close()

    async def _relay(self, send: Send, write_now: Callable[[bytes], bool] | None) -> None:
        # Every `send` costs a system call: what comes together goes out together.
        unsent = self._first
        while frames := await self._stream.next(None if unsent else write_now):
            unsent += b"".join(frames)
            if self._stream.finished:
                break
            await send(_piece(unsent))
            unsent = b""
        await send(_end(unsent, self._fault()))

    def _fault(self) -> errors.ApiError | None:
        if self._stream.finished:
            return None
        return errors.begun_anew() if self._stream.begun_anew else errors.stream_broken()

    def _watch_line(self, line: Line) -> Callable[[], None]:
        """Keeps proxies awake, and notices when the client leaves. The answer stops that."""
        loop = asyncio.get_running_loop()

        def ping() -> None:
            line.write_now(_PING)  # unless the client has not taken what was sent before: no proxy sleeps over that
            timers[0] = loop.call_later(PING_SECONDS, ping)

        def stop() -> None:
            timers[0].cancel()
            forget()

        timers = [loop.call_later(PING_SECONDS, ping)]
        forget = line.when_lost(self._stream.close)
        return stop

    def _watch(self, receive: Receive, send: Send) -> Callable[[], object]:
        """The same with what every server has."""
        return asyncio.create_task(self._keep_watch(receive, send)).cancel

    async def _keep_watch(self, receive: Receive, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    message = await receive()
            except TimeoutError:
                await send(_piece(_PING))
                continue
            if message["type"] == "http.disconnect":
                self._stream.close()
                return


def _end(unsent: bytes, error: errors.ApiError | None) -> dict[str, object]:
    last = b"" if error is None else sse_error(error_envelope(error, flat=True))
    return {"type": "http.response.body", "body": unsent + last + DONE, "more_body": False}


def _piece(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}
