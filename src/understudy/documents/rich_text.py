"""RTF -> its text. Tables, pictures and styles are read over."""

import codecs
import re
from collections.abc import Iterator
from typing import Final

from understudy.core.limits import DOCUMENT_DEPTH_MAX, DOCUMENT_PIECE_CHARACTERS
from understudy.documents.pages import Page, invalid

__all__ = ["rtf_pages"]

_TOKEN: Final = re.compile(
    rb"\\'([0-9a-fA-F]{2})|\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\([^a-zA-Z'])|([{}])|([^\\{}\r\n]+)", re.DOTALL
)
# Groups that hold no text of the document, and everything that marks itself as one that may be read over.
_HIDDEN: Final = frozenset(
    b"fonttbl colortbl stylesheet info pict object themedata colorschememapping datastore listtable "
    b"listoverridetable rsidtbl generator fldinst filetbl revtbl xmlnstbl header footer nonshppict".split()
)
_SAID: Final = {
    b"par": "\n",
    b"sect": "\n\n",
    b"page": "\n\n",
    b"line": "\n",
    b"tab": "\t",
    b"cell": "\t",
    b"row": "\n",
    b"emdash": "\u2014",
    b"endash": "\u2013",
    b"bullet": "\u2022",
    b"lquote": "\u2018",
    b"rquote": "\u2019",
    b"ldblquote": "\u201c",
    b"rdblquote": "\u201d",
}
_SYMBOLS: Final = {b"~": "\u00a0", b"_": "-", b"{": "{", b"}": "}", b"\\": "\\", b"\n": "\n", b"\r": "\n"}


def rtf_pages(content: bytes) -> Iterator[Page]:
    """Raises `DocumentRefused` for groups that nest too deeply."""
    reader = _Reader()
    for token in _TOKEN.finditer(content):
        reader.take(*token.groups())
        if reader.length >= DOCUMENT_PIECE_CHARACTERS:
            yield Page(reader.said())
    yield Page(reader.said())


class _Reader:
    def __init__(self) -> None:
        self.length = 0
        self._parts: list[str] = []
        self._encoding = "cp1252"
        self._waiting = bytearray()  # bytes of the document's encoding: a character may be of two
        self._groups: list[tuple[bool, int]] = []
        self._hidden = False
        self._alternatives = 1  # how many characters behind a Unicode one say the same for older programs
        self._skip = 0
        self._begins = False  # whether a group has just begun: only then a word may hide it

    def said(self) -> str:
        self._flush()
        text, self._parts, self.length = "".join(self._parts), [], 0
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def take(
        self,
        byte: bytes | None,
        word: bytes | None,
        number: bytes | None,
        symbol: bytes | None,
        brace: bytes | None,
        text: bytes | None,
    ) -> None:
        begins, self._begins = self._begins, False
        if brace is not None:
            self._group(brace)
        elif word is not None:
            self._word(word, int(number) if number is not None else None, begins=begins)
        elif symbol is not None:
            if symbol == b"*":
                self._hidden = self._hidden or begins
            else:
                self._say(_SYMBOLS.get(symbol, ""))
        else:
            self._bytes(bytes.fromhex(byte.decode()) if byte is not None else text or b"")

    def _group(self, brace: bytes) -> None:
        self._flush()
        self._skip = 0
        if brace == b"{":
            if len(self._groups) >= DOCUMENT_DEPTH_MAX:
                raise invalid(f"The file could not be parsed: it is nested more than {DOCUMENT_DEPTH_MAX} deep.")
            self._groups.append((self._hidden, self._alternatives))
            self._begins = True
        elif self._groups:
            self._hidden, self._alternatives = self._groups.pop()

    def _word(self, word: bytes, number: int | None, *, begins: bool) -> None:
        if word in _HIDDEN:
            self._hidden = self._hidden or begins
        elif word == b"ansicpg" and number is not None:
            self._encoding = _known(f"cp{number}")
        elif word == b"uc" and number is not None:
            self._alternatives = max(0, min(number, 16))
        elif word == b"u" and number is not None:
            # Halves of surrogate pairs come one by one, as signed numbers of 16 bits.
            self._flush()
            if not self._hidden:
                self._add(chr(number & 0xFFFF))
            self._skip = self._alternatives
        elif word in _SAID:
            self._say(_SAID[word])

    def _bytes(self, raw: bytes) -> None:
        skipped = min(self._skip, len(raw))
        self._skip -= skipped
        if not self._hidden:
            self._waiting += raw[skipped:]

    def _say(self, text: str) -> None:
        self._flush()
        if not self._hidden:
            self._add(text)

    def _flush(self) -> None:
        if self._waiting:
            self._add(self._waiting.decode(self._encoding, "replace"))
            self._waiting.clear()

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self.length += len(text)


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return "cp1252"
