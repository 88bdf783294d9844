"""What a vector store is searched by, in memory: immutable, and made from its predecessor when the store changes.

Rows are chunks. Files' rows stand in segments; a change adds a segment of the new files and lets rows of old ones die.
Segments are joined as they accumulate, so that there are few and each row is moved a few times only.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from understudy.core.limits import SEGMENT_GROWTH
from understudy.ports import ChunkKey, Embedding, IndexedFile, IndexHead, IndexRow
from understudy.retrieval.filters import AttributeColumns
from understudy.retrieval.postings import Postings

__all__ = ["Segment", "StoreIndex"]

_NUMBER_BITS: Final = 24


class Segment(Struct, frozen=True):
    """Rows of some files: those of `generations[i]` are `bounds[i]` to `bounds[i + 1]`. Without a vector a row is 0."""

    generations: tuple[int, ...]
    bounds: NDArray[np.int64]
    numbers: NDArray[np.int32]
    postings: Postings
    vectors: NDArray[np.float32] | None

    @classmethod
    def of(cls, files: Mapping[int, Sequence[IndexRow]], dimensions: int | None) -> "Segment":
        rows = [row for one in files.values() for row in one]
        sizes = [len(one) for one in files.values()]
        return cls(
            generations=tuple(files),
            bounds=np.cumsum([0, *sizes], dtype=np.int64),
            numbers=np.fromiter((row.number for row in rows), np.int32, len(rows)),
            postings=Postings.of([row.terms for row in rows]),
            vectors=None if dimensions is None else _matrix(rows, dimensions),
        )

    @property
    def rows(self) -> int:
        return len(self.numbers)

    @property
    def nbytes(self) -> int:
        vectors = 0 if self.vectors is None else self.vectors.nbytes
        return self.postings.nbytes + self.numbers.nbytes + self.bounds.nbytes + vectors

    def rows_of(self, live: Mapping[int, int]) -> int:
        """How many rows are those of live files."""
        spans = zip(self.generations, pairwise(self.bounds.tolist()), strict=True)
        return sum(end - start for generation, (start, end) in spans if generation in live)

    def files(self, live: Mapping[int, int]) -> NDArray[np.int32]:
        """Of each row the place of its file; -1 for the rows of files that are not live."""
        places = np.fromiter((live.get(one, -1) for one in self.generations), np.int32, len(self.generations))
        return np.repeat(places, np.diff(self.bounds))


class StoreIndex:
    """A vector store at one version. `elsewhere`: its vectors are compared by a `VectorIndex`, and not here."""

    def __init__(self, head: IndexHead, segments: Sequence[Segment], *, elsewhere: bool = False) -> None:
        self.elsewhere = elsewhere
        self.version = head.version
        self.embedding: Embedding | None = head.embedding
        self.files: Sequence[IndexedFile] = head.files
        self.segments = tuple(segments)
        live = _places(head)
        self.file_of = np.concatenate([segment.files(live) for segment in segments] or [np.empty(0, np.int32)])
        self.columns = AttributeColumns([file.attributes for file in head.files])

    @property
    def rows(self) -> int:
        return len(self.file_of)

    @property
    def nbytes(self) -> int:
        return sum(segment.nbytes for segment in self.segments) + self.file_of.nbytes

    def has(self, generation: int) -> bool:
        """Whether this file's rows are here, live or not."""
        return generation in self._generations

    @cached_property
    def _generations(self) -> frozenset[int]:
        return frozenset(generation for segment in self.segments for generation in segment.generations)

    def row(self, key: ChunkKey) -> int | None:
        """Where this chunk stands, if it is here."""
        start, end = self._spans.get(key.generation, (0, 0))
        row = start + int(np.searchsorted(self.numbers[start:end], key.number))
        return row if row < end and self.numbers[row] == key.number else None

    def key(self, row: int) -> ChunkKey:
        return ChunkKey(self.files[self.file_of[row]].generation, int(self.numbers[row]))

    def sizes(self, wanted: NDArray[np.bool_] | None) -> tuple[Sequence[int], int]:
        """The generations of the files that are `wanted` and have rows, and how many rows these are."""
        generations, rows = self._sizes
        chosen = rows > 0 if wanted is None else wanted & (rows > 0)
        return generations[chosen].tolist(), int(rows[chosen].sum())

    @cached_property
    def _sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each file its generation, and how many rows it has."""
        generations = np.fromiter((file.generation for file in self.files), np.int64, len(self.files))
        return generations, np.bincount(self.file_of[self.file_of >= 0], minlength=len(self.files))

    @cached_property
    def _spans(self) -> Mapping[int, tuple[int, int]]:
        """The rows of each file, from one to before the other."""
        spans: dict[int, tuple[int, int]] = {}
        first = 0
        for segment in self.segments:
            bounds = (segment.bounds + first).tolist()
            spans.update(zip(segment.generations, pairwise(bounds), strict=True))
            first += segment.rows
        return spans

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Of each row a number of its own, the same in every process: its file's generation, then the chunk's."""
        parts = [
            (np.repeat(np.array(segment.generations, np.int64), np.diff(segment.bounds)) << _NUMBER_BITS)
            | segment.numbers
            for segment in self.segments
        ]
        return np.concatenate(parts or [np.empty(0, np.int64)])

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        return np.concatenate([segment.numbers for segment in self.segments] or [np.empty(0, np.int32)])

    def becoming(self, head: IndexHead, fresh: Mapping[int, Sequence[IndexRow]]) -> "StoreIndex":
        """The index at another version of the same embedding; `fresh` has the rows of the files that are not here."""
        assert head.embedding == self.embedding, "vectors of two spaces are not compared"
        live = _places(head)
        segments = [segment for segment in self.segments if segment.rows_of(live)]
        if fresh:
            compared = head.embedding if head.embedding and not self.elsewhere else None
            segments.append(Segment.of(fresh, compared.dimensions if compared else None))
        return StoreIndex(head, _joined(segments, live), elsewhere=self.elsewhere)

    @classmethod
    def empty(cls, head: IndexHead, *, elsewhere: bool = False) -> "StoreIndex":
        """What the index of this store begins as, whatever files the head names."""
        return cls(IndexHead(version=head.version, embedding=head.embedding, files=()), (), elsewhere=elsewhere)


def _places(head: IndexHead) -> dict[int, int]:
    return {file.generation: place for place, file in enumerate(head.files)}


def _matrix(rows: Sequence[IndexRow], dimensions: int) -> NDArray[np.float32]:
    size = 2 * dimensions
    nothing = bytes(size)
    packed = b"".join(row.vector if row.vector and len(row.vector) == size else nothing for row in rows)
    return np.frombuffer(packed, "<f2").astype(np.float32).reshape(len(rows), dimensions)


def _joined(segments: list[Segment], live: Mapping[int, int]) -> list[Segment]:
    """The same live rows in few segments: none is mostly dead, each is much larger than the next."""
    kept: list[Segment] = []
    for segment in segments:
        joining = [segment]
        while kept and kept[-1].rows < SEGMENT_GROWTH * sum(one.rows for one in joining):
            joining.insert(0, kept.pop())
        mostly_dead = 2 * segment.rows_of(live) < segment.rows
        kept.append(_join(joining, live) if len(joining) > 1 or mostly_dead else segment)
    return kept


def _join(segments: Sequence[Segment], live: Mapping[int, int]) -> Segment:
    generations: list[int] = []
    sizes: list[int] = []
    places: list[NDArray[np.int64]] = []
    count = 0
    for segment in segments:
        alive = segment.files(live) >= 0
        place = np.where(alive, np.cumsum(alive) - 1 + count, -1)
        count += int(np.count_nonzero(alive))
        places.append(place)
        for generation, (start, end) in zip(segment.generations, pairwise(segment.bounds.tolist()), strict=True):
            if generation in live:
                generations.append(generation)
                sizes.append(end - start)
    alive_in = [place >= 0 for place in places]
    parts = list(zip(segments, alive_in, strict=True))
    matrices = [segment.vectors[alive] for segment, alive in parts if segment.vectors is not None]
    return Segment(
        generations=tuple(generations),
        bounds=np.cumsum([0, *sizes], dtype=np.int64),
        numbers=np.concatenate([segment.numbers[alive] for segment, alive in parts]),
        postings=Postings.merged([segment.postings for segment in segments], places),
        vectors=np.concatenate(matrices) if matrices else None,
    )
