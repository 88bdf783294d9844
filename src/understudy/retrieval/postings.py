"""BM25 over terms that were counted when a text was indexed: which rows have a word, and how much that says.

Postings are immutable and hold some files' rows. A collection is any number of them: how rare a word is, is asked of
all of them together, so that a row scores the same however its collection is divided.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from understudy.core.limits import QUERY_TERMS_MAX
from understudy.retrieval.terms import Terms, unpack

__all__ = ["ROWS_MAX", "Postings", "WordScores", "score_words"]

# The usual values; the second term of the logarithm keeps the weight of a word that most rows have above zero.
_K1: Final = 1.2
_B: Final = 0.75

# A posting while it is sorted: 32 bits of hash, 24 of row, 8 of count.
ROWS_MAX: Final = 1 << 24
_ROW_SHIFT: Final = np.uint64(8)
_HASH_SHIFT: Final = np.uint64(32)


class Postings(Struct, frozen=True):
    """`rows[starts[i]:starts[i + 1]]` have the word `hashes[i]`, as often as `counts` says. Rows count from 0."""

    hashes: NDArray[np.uint32]
    starts: NDArray[np.int64]
    rows: NDArray[np.uint32]
    counts: NDArray[np.uint8]
    lengths: NDArray[np.float32]

    @classmethod
    def of(cls, packed: Sequence[bytes]) -> "Postings":
        """Of rows' packed terms, in the order of the rows. Raises `ValueError` for other bytes, or too many rows."""
        if len(packed) > ROWS_MAX:
            raise ValueError(f"more than {ROWS_MAX} rows")
        terms = [unpack(one) for one in packed]
        lengths = np.fromiter((one.length for one in terms), np.float32, len(terms))
        sizes = [len(one.hashes) for one in terms]
        rows = np.repeat(np.arange(len(terms), dtype=np.uint64), sizes)
        hashes = np.concatenate([one.hashes for one in terms] or [np.empty(0, np.uint32)])
        counts = np.concatenate([one.counts for one in terms] or [np.empty(0, np.uint8)])
        return _sorted(_keys(hashes, rows, counts), lengths)

    @classmethod
    def merged(cls, parts: Sequence["Postings"], places: Sequence[NDArray[np.int64]]) -> "Postings":
        """One of several. `places[i]` has the new row of each row of `parts[i]`, or -1 for one that is dropped.

        New rows must follow each other without a gap, in the order of the parts.
        """
        keys, lengths = [], []
        for part, place in zip(parts, places, strict=True):
            new = place[part.rows]
            kept = new >= 0
            hashes = np.repeat(part.hashes, np.diff(part.starts))
            keys.append(_keys(hashes[kept], new[kept].astype(np.uint64), part.counts[kept]))
            lengths.append(part.lengths[place >= 0])
        return _sorted(np.concatenate(keys), np.concatenate(lengths))

    def having(self, hashed: int) -> slice:
        """Where in `rows` and `counts` the word stands."""
        place = int(np.searchsorted(self.hashes, np.uint32(hashed)))
        if place == len(self.hashes) or self.hashes[place] != hashed:
            return slice(0, 0)
        return slice(int(self.starts[place]), int(self.starts[place + 1]))

    @property
    def nbytes(self) -> int:
        arrays = (self.hashes, self.starts, self.rows, self.counts, self.lengths)
        return sum(array.nbytes for array in arrays)


class WordScores(Struct, frozen=True):
    """`scores` of all rows, 0 for one that has no word of the query.

    `whole` is what a row of average length scores that has each word of the query once.
    """

    scores: NDArray[np.float32]
    whole: float


def score_words(postings: Sequence[Postings], live: NDArray[np.bool_], query: Terms) -> WordScores:
    """BM25 of every row, those of the postings one after the other. Rows that are not `live` are as if not there."""
    scores = np.zeros(len(live), np.float32)
    lengths = np.concatenate([part.lengths for part in postings] or [np.empty(0, np.float32)])
    count = int(np.count_nonzero(live))
    total = float(lengths[live].sum())
    if not total:
        return WordScores(scores, 0.0)
    norms = _K1 * (1 - _B + _B * lengths * np.float32(count / total))
    whole = 0.0
    for hashed, times in zip(query.hashes[:QUERY_TERMS_MAX].tolist(), query.counts.tolist(), strict=False):
        rows, counts = _all_having(postings, hashed)
        having = int(np.count_nonzero(live[rows]))
        weight = times * float(np.log1p((count - having + 0.5) / (having + 0.5)))
        whole += weight
        # No row stands twice in a word's postings, so nothing is lost by adding like this.
        scores[rows] += np.float32(weight * (_K1 + 1)) * counts / (counts + norms[rows])
    scores[~live] = 0
    return WordScores(scores, whole)


def _all_having(postings: Iterable[Postings], hashed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rows, counts, offset = [np.empty(0, np.int64)], [np.empty(0, np.uint8)], 0
    for part in postings:
        where = part.having(hashed)
        if where.stop > where.start:
            rows.append(part.rows[where].astype(np.int64) + offset)
            counts.append(part.counts[where])
        offset += len(part.lengths)
    return np.concatenate(rows), np.concatenate(counts).astype(np.float32)


def _keys(hashes: NDArray[np.uint32], rows: NDArray[np.uint64], counts: NDArray[np.uint8]) -> NDArray[np.uint64]:
    keys = hashes.astype(np.uint64)
    keys <<= _HASH_SHIFT
    keys |= rows << _ROW_SHIFT
    keys |= counts
    return keys


def _sorted(keys: NDArray[np.uint64], lengths: NDArray[np.float32]) -> Postings:
    keys.sort()  # of plain numbers, which is several times faster than a stable sort by hash
    hashes = (keys >> _HASH_SHIFT).astype(np.uint32)
    firsts = np.flatnonzero(np.concatenate([np.ones(min(1, len(hashes)), np.bool_), hashes[1:] != hashes[:-1]]))
    return Postings(
        hashes=hashes[firsts],
        starts=np.append(firsts, len(hashes)).astype(np.int64),
        rows=((keys & np.uint64(0xFFFFFFFF)) >> _ROW_SHIFT).astype(np.uint32),
        counts=keys.astype(np.uint8),
        lengths=lengths,
    )
