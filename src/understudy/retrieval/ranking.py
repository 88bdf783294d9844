"""Which passages answer a query best: rankings by words and by vectors, fused by reciprocal ranks.

Everything is exact: each passage that a filter lets through is compared with each query, unless its vector is kept
elsewhere and compared there. The stores that are searched count as one collection, so a word is as rare as it is in all
of them together.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from understudy.core.limits import FUSION_K, SEARCH_DEPTH
from understudy.ports import ChunkKey, Embedding, Near
from understudy.retrieval.filters import mask
from understudy.retrieval.index import StoreIndex
from understudy.retrieval.postings import score_words
from understudy.retrieval.terms import term_counts, unpack
from understudy.wire.vector_stores import Filter

__all__ = ["Elsewhere", "Found", "Query", "Ranking", "rank"]

_STORE_SHIFT: Final = 56  # beyond a file's generation and a chunk's number
_NO_COSINE: Final = -float("inf")


class Query(Struct, frozen=True):
    """A question, and its vectors in the spaces of the stores that are searched."""

    text: str
    vectors: Mapping[Embedding, NDArray[np.float32]]


class Found(Struct, frozen=True):
    """A row of one of the stores. `score` is between 0 and 1."""

    store: int
    row: int
    score: float


def rank(stores: Sequence[StoreIndex], queries: Sequence[Query], where: Filter | None, *, limit: int) -> list[Found]:
    """The best rows of stores whose vectors are all in memory. Raises `FilterTooLarge`."""
    ranking = Ranking(stores, queries, where)
    return ranking.found(ranking.best(limit))


class Elsewhere(Struct, frozen=True):
    """Files of which somebody else compares the vectors of a space, and how many rows they have."""

    embedding: Embedding
    generations: Sequence[int]
    rows: int


class Ranking:
    """The rows of all the stores, for all the queries together. Raises `FilterTooLarge`.

    A row that is found by several queries, or by words and by vectors, counts for each. Where vectors are compared
    elsewhere, `tell` gives the nearest ones' cosines before `best` is asked, and those of the best before `found` is.
    """

    def __init__(self, stores: Sequence[StoreIndex], queries: Sequence[Query], where: Filter | None) -> None:
        self._collection = _Collection(stores, where)
        self._queries = queries if self._collection.allowed.any() else ()
        self._nearness = [self._collection.nearness(query) for query in self._queries]

    def elsewhere(self) -> list[Elsewhere]:
        """What somebody else is to compare each of the queries with."""
        return self._collection.elsewhere(self._queries[0]) if self._queries else []

    def unknown(self, rows: NDArray[np.int64]) -> Mapping[Embedding, Sequence[ChunkKey]]:
        """Those of the rows whose vectors are compared elsewhere, unless all is told of them already."""
        told = [near.cosines[rows] > _NO_COSINE for near in self._nearness]
        return self._collection.keys_elsewhere(rows[~np.all(told, axis=0)]) if told else {}

    def tell(self, query: int, near: Sequence[Near]) -> None:
        """What was found out for the query of this number."""
        for one in near:
            row = self._collection.row(one.key)
            if row is not None:
                self._nearness[query].cosines[row] = one.cosine

    def best(self, limit: int) -> NDArray[np.int64]:
        """The rows that are to be shown, best first."""
        fused = np.zeros(len(self._collection.allowed), np.float32)
        for query, near in zip(self._queries, self._nearness, strict=True):
            for rows in self._collection.rankings(query, near):
                fused[rows] += (1 / (FUSION_K + 1 + np.arange(len(rows)))).astype(np.float32)
        if self._queries:
            # A store without vectors takes part in half of the rankings; its rows are not worth less for that.
            fused[self._collection.has_vectors(self._queries[0])] /= 2
        return self._collection.best(fused, limit)

    def found(self, best: NDArray[np.int64]) -> list[Found]:
        """These rows with their scores."""
        if not len(best):
            return []
        compared = self._collection.has_vectors(self._queries[0])[best]
        scores = _falling(np.max([near.of(best, compared) for near in self._nearness], axis=0))
        places = [self._collection.place(int(row)) for row in best]
        return [Found(*place, score) for place, score in zip(places, scores, strict=True)]


class _Nearness(Struct, frozen=True):
    """How near all rows are to a query: BM25, with what the whole query is worth, and cosines, -inf for one unknown."""

    words: NDArray[np.float32]
    whole: float
    cosines: NDArray[np.float32]

    def of(self, rows: NDArray[np.int64], compared: NDArray[np.bool_]) -> NDArray[np.float32]:
        """From 0 to 1: the mean of a row's share of the words and its cosine; its share alone if nothing `compared`."""
        share = np.minimum(self.words[rows] / np.float32(self.whole or 1), 1)
        both: NDArray[np.float32] = np.where(compared, (share + np.clip(self.cosines[rows], 0, 1)) / 2, share)
        return both


class _Collection:
    """The rows of several stores, one store after the other."""

    def __init__(self, stores: Sequence[StoreIndex], where: Filter | None) -> None:
        self._stores = stores
        self._starts = np.cumsum([0, *(store.rows for store in stores)])
        self._postings = [segment.postings for store in stores for segment in store.segments]
        self._live = _whole([store.file_of >= 0 for store in stores])
        self.allowed = self._live
        self._masks = None if where is None else [mask(where, store.columns) for store in stores]
        if self._masks is not None:
            # The row of a dead file has the place -1: it must not take the last file's.
            masks = [np.append(one, False) for one in self._masks]
            self.allowed = _whole([one[store.file_of] for one, store in zip(masks, stores, strict=True)])

    def nearness(self, query: Query) -> _Nearness:
        found = score_words(self._postings, self._live, unpack(term_counts(query.text)))
        cosines = np.full(len(self._live), _NO_COSINE, np.float32)
        start = 0
        for store in self._stores:
            vector = _vector(store, query)
            for segment in store.segments:
                if vector is not None and segment.vectors is not None:
                    # Not `matmul`: its library's threads wait for each other, which on busy cores takes 100 times
                    # as long; on quiet ones both take what reading the memory takes.
                    np.einsum("ij,j->i", segment.vectors, vector, out=cosines[start : start + segment.rows])
                start += segment.rows
        return _Nearness(found.scores, found.whole, cosines)

    def elsewhere(self, query: Query) -> list[Elsewhere]:
        parts: dict[Embedding, Elsewhere] = {}
        masks: Sequence[NDArray[np.bool_] | None] = self._masks or [None] * len(self._stores)
        for store, wanted in zip(self._stores, masks, strict=True):
            if not store.elsewhere or store.embedding is None or store.embedding not in query.vectors:
                continue
            generations, rows = store.sizes(wanted)
            before = parts.get(store.embedding, Elsewhere(store.embedding, (), 0))
            parts[store.embedding] = Elsewhere(store.embedding, [*before.generations, *generations], before.rows + rows)
        return [part for part in parts.values() if part.rows]

    def keys_elsewhere(self, rows: NDArray[np.int64]) -> Mapping[Embedding, Sequence[ChunkKey]]:
        keys: dict[Embedding, list[ChunkKey]] = {}
        for store, row in map(self.place, rows.tolist()):
            index = self._stores[store]
            if index.elsewhere and index.embedding is not None:
                keys.setdefault(index.embedding, []).append(index.key(row))
        return keys

    def row(self, key: ChunkKey) -> int | None:
        """Where a chunk is that is compared elsewhere."""
        for start, store in zip(self._starts.tolist(), self._stores, strict=False):
            row = store.row(key) if store.elsewhere else None
            if row is not None:
                return int(start + row)
        return None

    def rankings(self, query: Query, near: _Nearness) -> Iterator[NDArray[np.int64]]:
        """The best rows by words, and by vectors of each space: cosines of two spaces are not compared."""
        yield self.best(near.words)
        spaces = dict.fromkeys(store.embedding for store in self._stores if _vector(store, query) is not None)
        for space in spaces:
            inside = self._each([store.embedding == space for store in self._stores])
            cosines = near.cosines if inside.all() else np.where(inside, near.cosines, _NO_COSINE)
            yield self.best(cosines, above=_NO_COSINE)

    def has_vectors(self, query: Query) -> NDArray[np.bool_]:
        return self._each([_vector(store, query) is not None for store in self._stores])

    def best(self, scores: NDArray[np.float32], limit: int = SEARCH_DEPTH, *, above: float = 0.0) -> NDArray[np.int64]:
        """The allowed rows of the highest scores `above` that, best first."""
        rows = np.flatnonzero(self.allowed & (scores > above))
        if len(rows) > limit:
            least = np.partition(scores[rows], len(rows) - limit)[len(rows) - limit]
            rows = rows[scores[rows] >= least]
        return rows[np.lexsort((self._order(rows), -scores[rows]))][:limit]

    def _order(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """What decides between equal scores, the same in every process."""
        order = np.empty(len(rows), np.int64)
        for number, store in enumerate(self._stores):
            start, end = self._starts[number : number + 2]
            inside = (rows >= start) & (rows < end)
            order[inside] = store.order[rows[inside] - start] | (number << _STORE_SHIFT)
        return order

    def place(self, row: int) -> tuple[int, int]:
        """The store, and the row in it."""
        store = int(np.searchsorted(self._starts, row, side="right")) - 1
        return store, row - int(self._starts[store])

    def _each(self, values: Sequence[bool]) -> NDArray[np.bool_]:
        return np.repeat(np.array(values, np.bool_), np.diff(self._starts))


def _vector(store: StoreIndex, query: Query) -> NDArray[np.float32] | None:
    return None if store.embedding is None else query.vectors.get(store.embedding)


def _whole(parts: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.concatenate([np.empty(0, np.bool_), *parts])


def _falling(closeness: NDArray[np.float32]) -> list[float]:
    """Scores in the order of the ranking: each is at least that of what is ranked behind it."""
    return [float(score) for score in np.maximum.accumulate(closeness[::-1])[::-1]]
