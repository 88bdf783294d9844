"""Vector stores that can be searched: a real store, weights of a few words, and files indexed as a worker would."""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from support.store import NOON, PROJECT
from support.vectors import added_file, added_store, new_file
from support.weights import write_static_weights
from understudy.embeddings.static import StaticEmbedder
from understudy.ports import Chunk, Embedder, Embedders, Embedding, Passage, Search, SearchRequest, Store
from understudy.retrieval.static import StaticModel
from understudy.retrieval.terms import term_counts

__all__ = ["FixedEmbedders", "OtherEmbedder", "add_document", "add_store", "embedder", "found", "texts_of"]


@functools.cache
def embedder() -> StaticEmbedder:
    """The built-in embedding, of a few words."""
    with tempfile.TemporaryDirectory() as directory:
        return StaticEmbedder(StaticModel.load(write_static_weights(Path(directory))))


class OtherEmbedder(Embedder):
    """Another space, in which texts that begin with the same letter are the same."""

    embedding = Embedding(model="letters", dimensions=26)

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        return [
            b"".join(b"\0\x3c" if chr(97 + place) == text[:1] else b"\0\0" for place in range(26)) for text in texts
        ]


class FixedEmbedders(Embedders):
    """These and no others; the first is preferred."""

    def __init__(self, *embedders: Embedder) -> None:
        self._embedders = embedders

    async def preferred(self) -> Embedder | None:
        return self._embedders[0] if self._embedders else None

    async def of(self, embedding: Embedding) -> Embedder | None:
        return next((one for one in self._embedders if one.embedding == embedding), None)

    async def close(self) -> None: ...


async def add_store(store: Store, embedding: Embedding | None = None) -> str:
    return await added_store(store, embedding=embedding)


async def add_document(
    store: Store,
    store_id: str,
    *texts: str,
    by: Embedder | None = None,
    file_id: str | None = None,
    **attributes: object,
) -> str:
    """The id of a file whose chunks are these, indexed."""
    file_id = file_id or await added_file(store)
    await store.attach_files(PROJECT, store_id, [new_file(file_id, **attributes)], at=NOON)
    vectors = [None] * len(texts) if by is None else await by.embed(texts)
    chunks = [
        Chunk(number=number, text=text, tokens=1, terms=term_counts(text), page=number + 1, vector=vector)
        for number, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]
    [job] = await store.claim_ingest("indexer", NOON, NOON + 15, limit=10)
    assert await store.put_chunks("indexer", job.generation, chunks)
    assert await store.finish_ingest("indexer", job.generation, chunks=len(chunks), usage_bytes=1)
    return file_id


async def found(search: Search, store_ids: str | Sequence[str], *queries: str, **fields: object) -> Sequence[Passage]:
    ids = [store_ids] if isinstance(store_ids, str) else store_ids
    return await search.search(ids, SearchRequest(queries=queries, **{"limit": 10, **fields}))


def texts_of(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages]
