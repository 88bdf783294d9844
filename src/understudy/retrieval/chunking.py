"""Cuts a text into overlapping windows of tokens, by ids of `o200k_base`, in memory that its length does not change.

A text is tokenised once. Windows lie on token edges that are also character edges, so that whatever lies between two
edges is the text itself, byte for byte.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from splintr import AnyTokenizer, Tokenizer

from understudy.core.limits import CHUNKING_PIECE_CHARACTERS
from understudy.wire.tools import StaticChunkingOptions

__all__ = ["Span", "Stretch", "stretches", "warm"]

_TABLE: Final = "o200k_base"
_VOCABULARY: Final = 199_998  # without the special tokens, which plain text never becomes
_SNAP_SHARE: Final = 0.1  # of a window's tokens: how far from its end a better place is looked for
_CUT_REACH_CHARACTERS: Final = 16_384

# In order of preference. A place is behind what is found; blanks that begin the next sentence may stay with this one.
_PLACES: Final = (
    re.compile(rb"\n[ \t\r]*\n\s*"),
    re.compile(rb"[.!?][\"')\]]*\s+|\xe3\x80\x82|\xef\xbc\x81|\xef\xbc\x9f|\n"),
)
# Between these the tokeniser never joins anything: what stands on both sides has the same ids alone and together.
_LINE_START: Final = re.compile(r"\n(?=\w)")
_WORD_END: Final = re.compile(r"(?<=[^\W\d_])(?= [^\W\d_])")

Lengths: TypeAlias = NDArray[np.int64]


class Span(NamedTuple):
    """A window: from `start` up to `end`, in characters of its stretch."""

    start: int
    end: int
    tokens: int


class Stretch(Struct, frozen=True):
    """A part of the text with its windows, in order. `offset` is where it begins in the whole text, in characters.

    Stretches overlap like windows do.
    """

    offset: int
    text: str
    spans: list[Span]


def stretches(
    texts: Iterable[str],
    chunking: StaticChunkingOptions,
    *,
    piece_characters: int = CHUNKING_PIECE_CHARACTERS,
) -> Iterator[Stretch]:
    """All windows over the texts put together; a text without any token has none. Surrogates are not allowed.

    A window has at most `max_chunk_size_tokens` and shares `chunk_overlap_tokens` with the one before it; both may be
    fewer by up to 3 where a token holds but a part of a character. It ends behind a paragraph or a sentence if one
    ends within its last tenth. A window's tokens are those of the whole text: tokenised alone, it comes to as many.
    """
    tape = _Tape(chunking)
    for piece in _pieces(texts, piece_characters):
        tape.add(piece)
        yield from tape.take(final=False)
    yield from tape.take(final=True)


def warm() -> None:
    """Loads what `stretches` needs, which takes half a second the first time."""
    _byte_lengths()
    # The tokeniser compiles its pattern with the first text, and more of it with the first one beyond ASCII.
    _tokenizer().encode_ordinary("What's new? 1,234 (words)!\n\n  Naïve 漢字 — ok.\r\n\tx")


class _Tape:
    """The part of the text that is not in windows yet, as bytes and as the lengths of its tokens."""

    def __init__(self, chunking: StaticChunkingOptions) -> None:
        self._size = chunking.max_chunk_size_tokens
        self._overlap = chunking.chunk_overlap_tokens
        self._snap = int(self._size * _SNAP_SHARE)
        self._text = b""
        self._lengths: Lengths = np.empty(0, np.int64)
        self._offset = 0

    def add(self, piece: str) -> None:
        ids = _tokenizer().encode_ordinary(piece)
        self._text += piece.encode()
        self._lengths = np.concatenate([self._lengths, _byte_lengths()[ids]])

    def take(self, *, final: bool) -> Iterator[Stretch]:
        """The windows that no later text can change; with `final` all that are left."""
        edges = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._lengths)])
        assert edges[-1] == len(self._text), "tokens are bytes of the text"
        windows = []
        start, count = 0, len(self._lengths)
        while count - start > self._size:
            end = self._end(edges, start + self._size)
            windows.append((start, end))
            start = self._whole(edges, end - self._overlap, +1)
        if final and start < count:
            windows.append((start, count))
            start = count
        if windows:
            yield self._stretch(edges, windows)
        done = int(edges[start])
        self._offset += len(self._text[:done].decode())
        self._text = self._text[done:]
        self._lengths = self._lengths[start:]

    def _end(self, edges: Lengths, end: int) -> int:
        """The best token edge for a window's end, at most `end`."""
        end = self._whole(edges, end, -1)
        first = end - self._snap
        tail = self._text[edges[first] : edges[end]]
        for place in _PLACES:
            behind = [int(edges[first]) + found.end() for found in place.finditer(tail)]
            for at in reversed(behind):
                edge = self._whole(edges, int(np.searchsorted(edges, at, "right")) - 1, -1)
                if edge > first:
                    return edge
        return end

    def _whole(self, edges: Lengths, edge: int, step: int) -> int:
        """The nearest edge in a direction that splits no character."""
        while edges[edge] < len(self._text) and self._text[edges[edge]] & 0xC0 == 0x80:
            edge += step
        return edge

    def _stretch(self, edges: Lengths, windows: list[tuple[int, int]]) -> Stretch:
        text = self._text[: edges[windows[-1][1]]].decode()
        places = sorted({int(edges[edge]) for window in windows for edge in window})
        characters = dict(zip(places, _characters(self._text, places), strict=True))
        spans = [
            Span(characters[int(edges[start])], characters[int(edges[end])], end - start) for start, end in windows
        ]
        return Stretch(self._offset, text, spans)


def _characters(text: bytes, places: list[int]) -> Iterator[int]:
    """How many characters are before each place."""
    before = counted = 0
    for place in places:
        counted += len(text[before:place].decode())
        before = place
        yield counted


def _pieces(texts: Iterable[str], characters: int) -> Iterator[str]:
    """The same text in pieces of about that many characters, cut where that changes no token, if it can be."""
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(text)
        if length < characters:
            continue
        whole, begin = "".join(waiting), 0
        while len(whole) - begin >= characters:
            cut = _cut(whole, begin, begin + characters)
            yield whole[begin:cut]
            begin = cut
        waiting, length = [whole[begin:]], len(whole) - begin
    if length:
        yield "".join(waiting)


def _cut(text: str, begin: int, end: int) -> int:
    """Where to cut, behind `begin` and at most at `end`."""
    reach = max(begin + 1, end - _CUT_REACH_CHARACTERS)
    for place in (_LINE_START, _WORD_END):
        # One character beyond the end is looked at, for what follows the cut.
        if found := [match.end() for match in place.finditer(text, reach, end + 2) if match.end() <= end]:
            return found[-1]
    return end


@cache
def _tokenizer() -> AnyTokenizer:
    return Tokenizer.from_pretrained(_TABLE)


@cache
def _byte_lengths() -> Lengths:
    """By token id. Takes a tenth of a second to make."""
    tokenizer = _tokenizer()
    return np.fromiter((len(tokenizer.decode_token_bytes(id_)) for id_ in range(_VOCABULARY)), np.int64, _VOCABULARY)
