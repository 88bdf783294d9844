"""Words of a text as search by words knows them: lower case, without stop words, stemmed, as packed numbers.

A chunk's packed terms are stored, so what a text becomes here must not change between versions: Porter's algorithm is
frozen, and hashes are CRC-32. Packed, all little-endian: the text's length in words (u32), then its distinct stems'
hashes, ascending (u32 each), then how often each occurs, 255 at most (u8 each).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Final
from zlib import crc32

import numpy as np
import Stemmer
from msgspec import Struct
from numpy.typing import NDArray

from understudy.core.limits import STEMS_CACHED_MAX, WORD_LENGTH_MAX

__all__ = ["Terms", "term_counts", "unpack", "window_counts"]

_COUNT_MAX: Final = 255  # BM25's weight of a word has levelled off long before
_HEAD_BYTES: Final = 4
_TERM_BYTES: Final = 5
_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
# Scripts that are written without spaces, and Hangul, whose words are long: searched by pairs of characters.
_UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_MARKS_END: Final = 0x10000  # a class of characters beyond makes the pattern ten times slower
_UNSPACED_RUN: Final = re.compile(f"([{_UNSPACED}]+)")
_ASCII_WORD: Final = re.compile("[a-z0-9]+")
_NOTHING: Final = np.empty(0, np.int64)

# What English texts have everywhere, and what is left of a word behind an apostrophe.
_STOP_TEXT: Final = """
a about above after again against all also am an and any are as at be because been before being below between both
but by can cannot could d did do does doing don down during each either else ever few for from further had has have
having he her here hers herself him himself his how however i if in into is isn it its itself just ll m may me might
more most must my myself neither no nor not now of off on once only or other our ours ourselves out over own per re
s same shall she should so some such t than that the their theirs them themselves then there therefore these they
this those through thus to too under until up upon us ve very was we were what when where whether which while who
whom why will with within without would you your yours yourself yourselves
"""
_STOP_WORDS: Final = frozenset(_STOP_TEXT.split())


class Terms(Struct, frozen=True):
    """`hashes` are distinct and ascending; `counts` are theirs. `length`: words in the text, stop words left out."""

    hashes: NDArray[np.uint32]
    counts: NDArray[np.uint8]
    length: int


def term_counts(text: str) -> bytes:
    """The text's terms, packed."""
    counted: Counter[int] = Counter()
    for word, times in Counter(_words(text)).items():
        for part in (word,) if word.isascii() else _parts(word):
            hashed = _hash(part[:WORD_LENGTH_MAX])
            if hashed is not None:
                counted[hashed] += times
    hashes = sorted(counted)
    counts = bytes(min(counted[one], _COUNT_MAX) for one in hashes)
    return np.array([counted.total(), *hashes], "<u4").tobytes() + counts


def window_counts(text: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """The packed terms of windows of one text, `(start, end)` in characters, which may overlap.

    What windows share is read once. A word belongs, whole, to the windows in which it begins.
    """
    # Not lower case as a whole beyond ASCII, which might move what follows: U+0130 becomes two characters.
    read, word = (text.lower(), _ASCII_WORD) if text.isascii() else (text.replace("_", " "), _any_word())
    cuts = sorted({cut for span in spans for cut in span})
    place = {cut: number for number, cut in enumerate(cuts)}
    known = _Known()
    ends = [_word_end(read, cut, word) for cut in cuts]
    pieces = [known.hashes(word.findall(read, start, end)) for start, end in pairwise(ends)]
    packed = []
    for start, end in spans:
        hashes = np.concatenate([_NOTHING, *pieces[place[start] : place[end]]])
        distinct, counts = np.unique(hashes, return_counts=True)
        head = np.array([len(hashes), *distinct], "<u4")
        packed.append(head.tobytes() + np.minimum(counts, _COUNT_MAX).astype(np.uint8).tobytes())
    return packed


def _word_end(text: str, cut: int, word: re.Pattern[str]) -> int:
    """The end of the word that this place lies in; the place itself if it lies in none."""
    inside = word.match(text, cut - 1) if cut else None
    return cut if inside is None else inside.end()


class _Known(dict[str, int]):
    """Words' hashes, as they come: of most words there is one, of others none or several."""

    def __init__(self) -> None:
        super().__init__()
        self._several: list[list[int]] = [[]]

    def hashes(self, words: list[str]) -> NDArray[np.int64]:
        found = np.fromiter(map(self.__getitem__, words), np.int64, len(words))
        others = [one for place in found[found < 0] for one in self._several[-1 - place]]
        return np.concatenate([found[found >= 0], np.array(others, np.int64)])

    def __missing__(self, word: str) -> int:
        lower = word.lower()
        found = [one for part in ((lower,) if lower.isascii() else _parts(lower)) if (one := _hash(part)) is not None]
        if len(found) == 1:
            self[word] = found[0]
        elif not found:
            self[word] = -1
        else:
            self._several.append(found)
            self[word] = -len(self._several)
        return self[word]


def unpack(packed: bytes) -> Terms:
    """Views of the packed bytes, without a copy. Raises `ValueError` for what `term_counts` did not pack."""
    distinct, rest = divmod(len(packed) - _HEAD_BYTES, _TERM_BYTES)
    if distinct < 0 or rest:
        raise ValueError("these are no packed terms")
    head = np.frombuffer(packed, "<u4", count=1 + distinct)
    counts = np.frombuffer(packed, np.uint8, offset=_HEAD_BYTES * (1 + distinct))
    return Terms(head[1:], counts, int(head[0]))


def _words(text: str) -> list[str]:
    lower = text.lower()
    return _ASCII_WORD.findall(lower) if text.isascii() else _any_word().findall(lower.replace("_", " "))


@cache
def _any_word() -> re.Pattern[str]:
    """Letters and digits with the marks on them: `\\w` alone would cut Hindi and Thai words at their vowels."""
    marks = [chr(code) for code in range(_MARKS_END) if unicodedata.category(chr(code))[0] == "M"]
    return re.compile(rf"\w[\w{''.join(marks)}]*")


def _parts(word: str) -> Iterator[str]:
    """What a word that is not ASCII is searched by.

    Compatibility forms (full width, ligatures) are what they stand for. Latin, Greek and Cyrillic letters lose their
    accents, which people leave out when they type a query.
    """
    plain = unicodedata.normalize("NFKC", _ACCENTS.sub("", unicodedata.normalize("NFKD", word))).casefold()
    for run in _words(plain):
        for place, part in enumerate(_UNSPACED_RUN.split(run)):
            if place % 2 == 0 or len(part) == 1:
                yield part
            else:
                yield from (first + second for first, second in pairwise(part))


@lru_cache(maxsize=STEMS_CACHED_MAX)
def _hash(word: str) -> int | None:
    """`None` for a word that is not searched."""
    if not word or word in _STOP_WORDS:
        return None
    stem = _stemmer().stemWord(word) if word.isascii() else word
    return crc32(stem.encode("utf-8", "surrogatepass"))


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("porter", 0)  # cached here instead
