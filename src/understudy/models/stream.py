"""Chunks out of an answer to `POST /chat/completions`, as they arrive."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from understudy.core import limits
from understudy.models import completion, failures
from understudy.models.alike import Alike
from understudy.models.body import Body
from understudy.models.sse import SseParser, TooLong
from understudy.ports import ModelError
from understudy.wire.chat import Chunk

_DONE: Final = b"[DONE]"
_SPACE: Final = b" \t\r\n"
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":", b"\xef\xbb\xbf")
_FIELD_BYTES_MAX: Final = max(map(len, _FIELDS))
_DECODER: Final = msgspec.json.Decoder(Chunk)


class HttpChunkStream:
    """A `ports.ChunkStream`. Cancelling `next` ends the connection; there is no going on after that."""

    def __init__(self, body: Body, content_type: str, secrets: Sequence[str]) -> None:
        self._body = body
        self._content_type = content_type
        self._secrets = secrets
        self._parser = SseParser()
        self._begun = False
        self._over = False  # nothing more to read
        self._done = False  # the server said so
        self._take: Callable[[Sequence[Chunk]], bool] | None = None
        self._take_text: Callable[[str], bool] | None = None
        self._alike = Alike()
        self._left: Sequence[Chunk] = ()  # heard and not taken
        self._failure: ModelError | None = None  # to be raised after the chunks that came before it

    async def next(
        self,
        take: Callable[[Sequence[Chunk]], bool] | None = None,
        take_text: Callable[[str], bool] | None = None,
    ) -> Sequence[Chunk]:
        """The chunks of the next read, at least one. Empty after `[DONE]` or the end of the body.

        Raises `ModelError`, once all chunks that came before the fault were returned or taken.
        """
        self._take, self._take_text = take, take_text
        try:
            if not self._begun:
                await self._begin()
            if self._listening:
                await self._body.each(self._hear)
            if not self._left and self._failure is not None:
                raise self._failure
        except ModelError:
            self._over = True
            self._failure = None
            self._body.drop()
            raise
        left, self._left = self._left, ()
        return left

    async def close(self) -> None:
        """Keeps the connection for the next request if the answer ended; a model still talking is cut off."""
        self._over = True
        if self._done:
            await self._body.release()
        else:
            self._body.drop()

    @property
    def over(self) -> bool:
        return self._over and not (self._left or self._failure)

    @property
    def _listening(self) -> bool:
        return not (self._left or self._over or self._failure)

    async def _begin(self) -> None:
        """The first read tells an event stream from a whole completion; content types are not to be trusted."""
        self._begun = True
        head = b""
        while len(head.lstrip(_SPACE)) < _FIELD_BYTES_MAX:
            piece = await self._body.piece()
            head += piece
            if not piece or self._content_type == "text/event-stream":
                break
        if head.lstrip(_SPACE).startswith(b"{"):
            whole = await self._body.whole(limits.COMPLETION_BYTES_MAX, begun=head)
            self._over = True
            self._left = completion.chunks(whole, self._content_type, self._secrets)
            return
        if self._content_type != "text/event-stream" and not head.lstrip(_SPACE).startswith(_FIELDS):
            raise failures.unexpected(self._content_type)
        self._hear(head)

    def _hear(self, piece: bytes) -> bool:
        """Whether to go on listening: nothing came that is for whoever waits in `next`."""
        take_text = self._take_text
        if take_text is not None and (text := self._alike.text_in(piece)) is not None and take_text(text):
            return True
        try:
            payloads = self._parser.feed(piece) if piece else self._parser.end()
        except TooLong as error:
            raise failures.too_long(limits.UPSTREAM_LINE_BYTES_MAX) from error
        if not piece:
            self._over = True
        chunks = self._chunks(payloads)
        if not self._parser.between_events:
            self._alike.forget()
        elif len(chunks) == 1:
            self._alike.learn(piece, chunks[0])
        if chunks and (self._take is None or not self._take(chunks)):
            self._left = chunks
            return False
        return not (self._over or self._failure)

    def _chunks(self, payloads: Iterable[bytes]) -> list[Chunk]:
        chunks = []
        for payload in payloads:
            if payload.startswith(_DONE):
                self._over = self._done = True
                break
            try:
                chunk = _DECODER.decode(payload)
            except (ValueError, msgspec.MsgspecError, RecursionError) as error:
                self._failure = self._fault(payload)
                self._failure.__cause__ = error
                break
            if chunk.error is not None:
                self._failure = self._fault(payload)
                break
            chunks.append(chunk)
        return chunks

    def _fault(self, payload: bytes) -> ModelError:
        """Of a payload that is an error, in whatever shape, or is nothing known."""
        try:
            tree = msgspec.json.decode(payload)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            return ModelError(failures.NOT_UNDERSTOOD)
        if isinstance(tree, dict) and tree.get("error") is not None:
            return failures.of_error_tree(tree, self._secrets)
        return ModelError(failures.NOT_UNDERSTOOD)
