"""An answer's body while it arrives: read, watched for silence, and let go in one of two ways."""

import asyncio
from collections.abc import Callable

import aiohttp

from understudy.core import limits
from understudy.models import failures
from understudy.models.failures import READ_ERRORS
from understudy.models.tap import Tap
from understudy.ports import ModelError


class Body:
    """One answer. Whoever has it must `drop` or `release` it; every error and every cancellation drops it.

    Not for two readers at once. Closing it from elsewhere ends a waiting `piece` or `each`.
    """

    def __init__(self, response: aiohttp.ClientResponse, silence_seconds: float) -> None:
        self._response = response
        self._content = response.content
        self._loop = asyncio.get_running_loop()
        self._silence_seconds = silence_seconds
        self._waiting_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._failure: ModelError | None = None  # found by the watch, for the reader to raise
        self._dropped = False
        self._tap: Tap | None = None
        self._hear: Callable[[bytes], bool] | None = None
        self._heard: asyncio.Future[None] | None = None  # what waits in `each`

    async def piece(self) -> bytes:
        """All that has arrived, waiting for at least one byte; `b""` at the end, and after `drop`.

        Raises `ModelError`: silence, a cut connection.
        """
        self._wait()
        try:
            piece = await self._content.readany()
        except READ_ERRORS as error:
            self._broken(error)
            return b""
        except asyncio.CancelledError:
            self.drop()
            raise
        finally:
            self._waiting_since = None
        if not piece:
            self._unwatch()
        return piece

    async def each(self, hear: Callable[[bytes], bool]) -> None:
        """Has `hear` take every piece the moment it arrives, without waking a task, until it answers `False`.

        `b""` is the end; not heard after `drop`. Raises `ModelError` as `piece` does, and what `hear` raises.
        """
        self._wait()
        if self._tap is None:
            self._tap = Tap.on(self._response, self._arrived)
        heard: asyncio.Future[None] = self._loop.create_future()
        self._hear, self._heard = hear, heard
        try:
            self._arrived()  # what had come before
            await heard
        except asyncio.CancelledError:
            self.drop()
            raise
        finally:
            self._waiting_since = self._hear = self._heard = None

    def _arrived(self, piece: bytes = b"") -> bool:
        """Has the piece heard, or without one what has come. `False`: nobody listens, and it was not."""
        hear, heard = self._hear, self._heard
        if hear is None or heard is None or heard.done():
            return False
        self._waiting_since = self._loop.time()
        try:
            enough = not hear(piece) if piece else self._hand_over(hear)
        except Exception as error:
            if not heard.done():
                heard.set_exception(error)
        else:
            if enough and not heard.done():
                heard.set_result(None)
        return True

    def _hand_over(self, hear: Callable[[bytes], bool]) -> bool:
        """Whether that was enough, or the end."""
        while True:
            try:
                piece = self._content.read_nowait()
            except READ_ERRORS as error:
                self._broken(error)
                return True
            if piece and not hear(piece):
                return True
            # Behind more than that aiohttp may have stopped reading, and have more now that there is room again.
            if len(piece) < limits.UPSTREAM_PIECE_BYTES:
                break
        if not self._content.at_eof():
            return False
        self._unwatch()
        hear(b"")
        return True

    def _broken(self, error: Exception) -> None:
        """Raises `ModelError`, unless it was dropped here."""
        if self._failure is None and not self._dropped:
            self._failure = ModelError(failures.CUT)
        self.drop()
        if self._failure is not None:
            raise self._failure from error

    async def whole(self, bytes_max: int, *, begun: bytes = b"") -> bytes:
        """`begun` and all the rest. Raises `ModelError`, also for more than `bytes_max`."""
        pieces = bytearray(begun)
        while piece := await self.piece():
            pieces += piece
            if len(pieces) > bytes_max:
                self.drop()
                raise failures.too_long(bytes_max)
        return bytes(pieces)

    async def beginning(self, bytes_max: int, seconds: float) -> bytes:
        """What arrives in that time, that much at most; then the connection is let go. For the words of an error."""
        pieces = bytearray()
        try:
            async with asyncio.timeout(seconds):
                while len(pieces) < bytes_max and (piece := await self.piece()):
                    pieces += piece
        except (TimeoutError, ModelError):
            pass  # what there is must do
        finally:
            self.drop()
        return bytes(pieces[:bytes_max])

    async def release(self) -> None:
        """Keeps the connection for the next request if the body ends at once; else drops it."""
        try:
            if not (self._dropped or self._content.at_eof()):
                async with asyncio.timeout(limits.UPSTREAM_DRAIN_SECONDS):
                    while await self._content.readany():
                        pass
        except (TimeoutError, *READ_ERRORS):
            pass  # then it is not kept
        finally:
            self.drop()

    def drop(self) -> None:
        """Ends the connection now, unless the body is over: then it went back to the pool when it ended."""
        self._dropped = True
        self._unwatch()
        self._response.close()
        if self._heard is not None and not self._heard.done():
            if self._failure is None:
                self._heard.set_result(None)
            else:
                self._heard.set_exception(self._failure)

    def _wait(self) -> None:
        self._waiting_since = self._loop.time()
        if self._watch is None:
            self._look_in(self._silence_seconds)

    def _look(self) -> None:
        # One timer for a whole stream: it looks when it must, rather than being set again for every piece.
        since = self._waiting_since
        left = self._silence_seconds if since is None else since + self._silence_seconds - self._loop.time()
        if left <= 0:
            self._failure = failures.silent(self._silence_seconds)
            self.drop()
        elif self._lost():
            self._failure = ModelError(failures.CUT)
            self.drop()
        else:
            self._look_in(left)

    def _look_in(self, seconds: float) -> None:
        self._watch = self._loop.call_later(min(seconds, limits.UPSTREAM_LOOK_SECONDS), self._look)

    def _lost(self) -> bool:
        # aiohttp closes the connection of an answer with broken chunk framing without telling its reader.
        connection = self._response.connection
        if connection is None or self._content.exception() is not None:
            return False
        return connection.transport is None or connection.transport.is_closing()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
