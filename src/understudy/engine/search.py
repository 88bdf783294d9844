"""Search over vector stores: their indexes, the queries' vectors, the ranking, and the texts of what was found."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import structlog
from msgspec.structs import replace

from understudy.core.limits import (
    FILTER_PARTS_MAX,
    QUERIES_MAX,
    RERANK_PASSAGES,
    SEARCH_CACHE_BYTES,
    SEARCH_DEPTH,
    SEARCHES_AT_ONCE,
)
from understudy.engine.indexes import Indexes
from understudy.ports import (
    Embedders,
    Embedding,
    Passage,
    Reranker,
    RerankFailed,
    Search,
    SearchRefused,
    SearchRequest,
    VectorIndex,
    VectorRows,
)
from understudy.retrieval.filters import FilterTooLarge
from understudy.retrieval.index import StoreIndex
from understudy.retrieval.ranking import Found, Query, Ranking, rank

__all__ = ["Searcher"]

log = structlog.get_logger(__name__)


class Searcher(Search):
    """Ranks by words and by vectors, and lets `reranker` put what is best into its order, where there is one."""

    def __init__(
        self,
        rows: VectorRows,
        embedders: Embedders,
        reranker: Reranker | None = None,
        *,
        vectors: VectorIndex | None = None,
        cache_bytes: int = SEARCH_CACHE_BYTES,
    ) -> None:
        self._rows = rows
        self._embedders = embedders
        self._reranker = reranker
        self._index = vectors
        self._indexes = Indexes(rows, vectors, bytes_max=cache_bytes)
        self._places = asyncio.Semaphore(SEARCHES_AT_ONCE)

    async def search(self, store_ids: Sequence[str], request: SearchRequest) -> Sequence[Passage]:
        if len(request.queries) > QUERIES_MAX:
            raise SearchRefused(f"A search takes at most {QUERIES_MAX} queries.", param="query")
        found = [(store_id, await self._indexes.current(store_id)) for store_id in dict.fromkeys(store_ids)]
        stores = {store_id: index for store_id, index in found if index is not None and index.rows}
        if not stores:
            return []
        vectors = await self._vectors(request.queries, stores)
        reranker = self._reranker if request.ranker != "none" else None
        most = max(request.limit, RERANK_PASSAGES) if reranker is not None else request.limit
        try:
            async with self._places:
                best = await self._ranked(list(stores.values()), request, vectors, limit=most)
        except FilterTooLarge as error:
            message = f"A filter has at most {FILTER_PARTS_MAX} comparisons and values."
            raise SearchRefused(message, param="filters") from error
        if reranker is None:
            best = [one for one in best if one.score >= request.score_threshold]
        passages = await self._passages(stores, best)
        if reranker is not None and passages:
            passages = await _reranked(reranker, "\n".join(request.queries), passages)
        return [passage for passage in passages if passage.score >= request.score_threshold][: request.limit]

    async def _vectors(
        self, queries: Sequence[str], stores: Mapping[str, StoreIndex]
    ) -> Mapping[Embedding, Sequence[bytes]]:
        """The queries' vectors in each space of the stores that this server can still embed."""
        vectors: dict[Embedding, Sequence[bytes]] = {}
        for store_id, index in stores.items():
            space = index.embedding
            if space is None or space in vectors:
                continue
            embedder = await self._embedders.of(space)
            if embedder is None:
                # Until `understudy reindex`, or until the settings are as they were.
                log.warning("searched_by_words_alone", store=store_id, model=space.model, dimensions=space.dimensions)
                continue
            vectors[space] = await embedder.embed(queries)
        return vectors

    async def _ranked(
        self,
        stores: Sequence[StoreIndex],
        request: SearchRequest,
        vectors: Mapping[Embedding, Sequence[bytes]],
        *,
        limit: int,
    ) -> Sequence[Found]:
        """Raises `FilterTooLarge`."""
        numbers = {space: [np.frombuffer(one, "<f2").astype(np.float32) for one in of] for space, of in vectors.items()}
        queries = [
            Query(text, {space: rows[place] for space, rows in numbers.items()})
            for place, text in enumerate(request.queries)
        ]
        if self._index is None:
            return await asyncio.to_thread(rank, stores, queries, request.where, limit=limit)
        ranking = await asyncio.to_thread(Ranking, stores, queries, request.where)
        for part in ranking.elsewhere():
            for place, vector in enumerate(vectors[part.embedding]):
                near = await self._index.nearest(
                    part.embedding, vector, part.generations, chunks=part.rows, limit=SEARCH_DEPTH
                )
                ranking.tell(place, near)
        best = await asyncio.to_thread(ranking.best, limit)
        for space, keys in ranking.unknown(best).items():
            for place, vector in enumerate(vectors.get(space, ())):
                ranking.tell(place, await self._index.cosines(space, vector, keys))
        return ranking.found(best)

    async def _passages(self, stores: Mapping[str, StoreIndex], best: Sequence[Found]) -> list[Passage]:
        """With their texts; what was deleted a moment ago is left out."""
        by_place = list(stores.items())
        keys = [by_place[one.store][1].key(one.row) for one in best]
        passages = []
        for one, key, text in zip(best, keys, await self._rows.chunk_texts(keys), strict=True):
            if text is None:
                continue
            store_id, index = by_place[one.store]
            file = index.files[index.file_of[one.row]]
            passages.append(
                Passage(
                    store_id=store_id,
                    file_id=file.file_id,
                    file_name=file.file_name,
                    score=one.score,
                    text=text[0],
                    attributes=file.attributes,
                    number=key.number,
                    page=text[1],
                )
            )
        return passages


async def _reranked(reranker: Reranker, query: str, passages: Sequence[Passage]) -> list[Passage]:
    """In the reranker's order, with its scores; as they were if it fails."""
    try:
        scores = await reranker.scores(query, [passage.text for passage in passages])
    except RerankFailed as error:
        log.warning("rerank_failed", reason=str(error))
        return list(passages)
    scored = [replace(passage, score=score) for passage, score in zip(passages, scores, strict=True)]
    return sorted(scored, key=lambda passage: -passage.score)
