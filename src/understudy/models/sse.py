"""Server-sent events, read from bytes as they come. Only `data` matters here: names, ids and times are passed over."""

from typing import Final

from understudy.core import limits

_BOM: Final = b"\xef\xbb\xbf"


class TooLong(Exception):
    """A line, or the lines of one event together, are longer than a parser holds."""


class SseParser:
    """Feed it reads of any size; it answers with the `data` of every event that they complete.

    Lines end in CR, LF or CRLF, wherever a read may split them. Payloads stay bytes, so a character may be split too.
    """

    def __init__(self, *, event_bytes_max: int = limits.UPSTREAM_LINE_BYTES_MAX) -> None:
        self._max = event_bytes_max
        self._line = bytearray()  # a line whose end has not come
        self._event: list[bytes] = []  # the data lines of an event whose end has not come
        self._event_bytes = 0
        self._after_cr = False
        self._at_start = True

    @property
    def between_events(self) -> bool:
        """Nothing of an event is held: what comes next begins one."""
        return not (self._line or self._event or self._after_cr)

    def feed(self, read: bytes) -> list[bytes]:
        """Raises `TooLong`; the parser is of no use after that."""
        if not read:
            return []
        if read.endswith(b"\n\n") and self.between_events:
            length = len(read)
            if (
                read.find(b"\n") == length - 2
                and read.startswith(b"data: ")
                and b"\r" not in read
                and length <= self._max
            ):
                self._at_start = False
                return [read[6:-2]]
            payloads = self._whole_events(read)
            if payloads is not None:
                self._at_start = False
                return payloads
        if self._after_cr:
            self._after_cr = False
            read = read.removeprefix(b"\n")
        payloads = []
        for part in read.splitlines(keepends=True):
            if part.endswith((b"\n", b"\r")):
                if self._line:
                    part = bytes(self._line) + part
                    self._line.clear()
                self._end_line(part.rstrip(b"\r\n"), payloads)
            else:
                self._line += part
                self._refuse_more_than_max(len(self._line))
        self._after_cr = read.endswith(b"\r")
        return payloads

    def end(self) -> list[bytes]:
        """What the end of the body completes: servers exist that send no blank line after their last event."""
        payloads: list[bytes] = []
        if self._line:
            line = bytes(self._line)
            self._line.clear()
            self._end_line(line, payloads)
        self._end_line(b"", payloads)
        return payloads

    def _whole_events(self, read: bytes) -> list[bytes] | None:
        """The payloads of a read of nothing but whole one-line events, as nearly every read is. `None`: it is other."""
        if b"\r" in read or len(read) > self._max:
            return None
        payloads = []
        for event in read[:-2].split(b"\n\n"):
            if not event.startswith(b"data: ") or b"\n" in event:
                return None
            payloads.append(event[6:])
        return payloads

    def _end_line(self, line: bytes, payloads: list[bytes]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._event:
                payloads.append(b"\n".join(self._event))
                self._event.clear()
                self._event_bytes = 0
            return
        self._refuse_more_than_max(len(line))
        name, _, value = line.partition(b":")
        if name == b"data":
            self._event.append(value.removeprefix(b" "))
            self._event_bytes += len(value) + 1
            self._refuse_more_than_max(self._event_bytes)

    def _refuse_more_than_max(self, length: int) -> None:
        if length > self._max:
            raise TooLong(f"an event of more than {self._max} bytes")
