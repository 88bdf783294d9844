"""Events of a stream that differ in their text alone, known by their bytes rather than decoded."""

import re
from typing import Final

import msgspec

from understudy.core.chat.assemble import text_alone
from understudy.core.limits import ALIKE_MISSES_MAX, UPSTREAM_LINE_BYTES_MAX
from understudy.wire.chat import Chunk

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Chunk).decode
_DATA: Final = b"data: "
_END: Final = b"\n\n"
# Of a string in JSON what stands for itself: no quote, no escape, no control character (RFC 8259 section 7).
_ITSELF: Final = re.compile(rb'[^"\\\x00-\x1f]+')


class Alike:
    """What the events of one answer have in common, learnt from any that only goes on with a text.

    A model server says the same around every token. Some change a second or a number with it: after
    `ALIKE_MISSES_MAX` events that none followed alike, no more is learnt.
    """

    def __init__(self) -> None:
        self._before = self._after = b""
        self._seen = True  # the like of what was learnt last
        self._misses = 0

    def text_in(self, read: bytes) -> str | None:
        """The text of a chunk in one read, if that is one whole event and like the one that was learnt.

        To be asked between two events. `None`: it may be anything.
        """
        before, after = self._before, self._after
        if not before or not read.startswith(before) or not read.endswith(after):
            return None
        text = read[len(before) : -len(after)]
        if _ITSELF.fullmatch(text) is None:
            return None
        self._seen = True
        try:
            return text.decode()
        except UnicodeDecodeError:
            return None

    def learn(self, read: bytes, chunk: Chunk) -> None:
        """From a read that brought one chunk."""
        text = text_alone(chunk)
        if text is None or self._misses > ALIKE_MISSES_MAX or len(read) > UPSTREAM_LINE_BYTES_MAX:
            return
        self._misses = 0 if self._seen else self._misses + 1
        self._seen = False
        self.forget()
        if not read.startswith(_DATA) or read.find(b"\n") != len(read) - len(_END) or b"\r" in read:
            return
        before, found, after = read.partition(_encode(text))
        other = text + "?"
        # What is that chunk's text with this one in its place, is so with every other.
        if found and _text_of(before + _encode(other) + after) == other:
            self._before, self._after = before + b'"', b'"' + after

    def forget(self) -> None:
        self._before = b""


def _text_of(event: bytes) -> str | None:
    try:
        return text_alone(_decode(event[len(_DATA) : -len(_END)]))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
