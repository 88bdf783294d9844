"""What one call's code says, read from its two pipes within bounds: whoever writes them may write anything."""

import codecs
import secrets
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from understudy.core.limits import SANDBOX_EVENTS_MAX
from understudy.ports import CodeEvent, CodePicture, CodePrinted, CodeRaised, CodeValue
from understudy.sandbox.bubble import Inlet
from understudy.sandbox.limits import SandboxLimits

__all__ = ["Call", "Flooded"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LINE_SPARE_BYTES: Final = 64 * 1024


class Flooded(Exception):
    """The code said more than a call may. The text is for its user."""


class _Value(Struct, frozen=True, tag_field="event", tag="value"):
    text: str


class _Raised(Struct, frozen=True, tag_field="event", tag="raised"):
    text: str


class _Picture(Struct, frozen=True, tag_field="event", tag="picture"):
    png: bytes


class _Began(Struct, frozen=True, tag_field="event", tag="began"):
    call: str


class _Done(Struct, frozen=True, tag_field="event", tag="done"):
    call: str


_Line: TypeAlias = _Began | _Value | _Raised | _Picture | _Done
_decoder: Final = msgspec.json.Decoder(_Line)


class Call:
    """`take` gives what has come since it was last asked.

    `has_begun` once the code can be interrupted, and `is_done` once it has ended, by what `take` has read.
    """

    def __init__(self, logs: Inlet, events: Inlet, limits: SandboxLimits) -> None:
        self.nonce = secrets.token_hex(8)
        self.has_begun = False
        self.is_done = False
        self._logs = logs
        self._events = events
        self._limits = limits
        self._line_bytes_max = max(limits.image_bytes * 4 // 3, limits.text_bytes * 6) + _LINE_SPARE_BYTES
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = bytearray()  # of a line that has not ended
        self._looked = 0  # how far into it
        self._bytes_left = limits.flood_bytes
        self._text_left = limits.text_bytes
        self._is_cut = False
        self._events_left = SANDBOX_EVENTS_MAX
        self._pictures_left = limits.images

    def take(self) -> Sequence[CodeEvent]:
        """Raises `Flooded`, and must not be asked again then."""
        # Events first and then what was printed: the runner flushes before each event.
        block = self._events.read()
        text = self._printed()
        taken: list[CodeEvent] = [CodePrinted(text)] if text else []
        self._count(len(block))
        self._pending += block
        while not self.is_done and (line := self._line()) is not None:
            event = self._read(line)
            if event is not None:
                taken.append(event)
        return taken

    def drop(self) -> None:
        """Forgets what an earlier call left in the pipes."""
        while self._logs.read() or self._events.read():
            self._count(1)

    def _printed(self) -> str:
        pieces = []
        # As much as a pipe holds, at most a few times: the code may go on writing as fast as this reads.
        for _ in range(4):
            block = self._logs.read()
            if not block:
                break
            self._count(len(block))
            pieces.append(block)
        return self._kept(self._decode.decode(b"".join(pieces)))

    def _line(self) -> bytes | None:
        end = self._pending.find(b"\n", self._looked)
        if end < 0:
            self._looked = len(self._pending)
            if self._looked > self._line_bytes_max:
                raise Flooded("The code wrote on the channel of its results.")
            return None
        line = bytes(memoryview(self._pending)[:end])
        del self._pending[: end + 1]
        self._looked = 0
        return line

    def _read(self, line: bytes) -> CodeEvent | None:
        self._events_left -= 1
        if self._events_left < 0:
            raise Flooded(f"The code gave more than {SANDBOX_EVENTS_MAX:,} results.")
        try:
            said = _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None  # not the runner's words
        match said:
            case _Began(call):
                self.has_begun = call == self.nonce
            case _Done(call):
                self.is_done = call == self.nonce
            case _Picture(png) if png.startswith(_PNG) and len(png) <= self._limits.image_bytes:
                self._pictures_left -= 1
                return CodePicture(png) if self._pictures_left >= 0 else None
            case _Value(text):
                kept = self._kept(text)
                return CodeValue(kept) if kept or not text else None
            case _Raised(text):
                kept = self._kept(text)
                return CodeRaised(kept) if kept or not text else None
        return None

    def _kept(self, text: str) -> str:
        """As much of the text as there is room for, and in the place of the rest, once, that it is left out."""
        # NUL is text, but no database takes it.
        text = text.replace("\0", "")
        if len(text) <= self._text_left:
            self._text_left -= len(text)
            return text
        kept, self._text_left = text[: self._text_left], 0
        if self._is_cut:
            return kept
        self._is_cut = True
        return f"{kept}\n[What follows is left out: more than {self._limits.text_bytes:,} characters.]\n"

    def _count(self, size_bytes: int) -> None:
        self._bytes_left -= size_bytes
        if self._bytes_left < 0:
            raise Flooded(f"The code printed more than {self._limits.flood_bytes:,} bytes.")
