"""What a search costs, on a real database of chunks made up of words as frequent as in texts, and vectors of chance."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.table import Row, median, percentile, row, shown
from understudy import entropy
from understudy.core.ids import ProjectId
from understudy.core.vector_stores import AUTO_CHUNKING, new_vector_store
from understudy.engine.search import Searcher
from understudy.ports import (
    Chunk,
    Embedder,
    Embedders,
    Embedding,
    NewStoreFile,
    NewVectorStore,
    SearchRequest,
    Store,
    StoredFile,
)
from understudy.retrieval.terms import term_counts
from understudy.store.sqlite import open_sqlite
from understudy.wire.files import File
from understudy.wire.vector_stores import CreateVectorStore, GreaterOrEqual

__all__ = ["BEST", "SEARCHES", "WORDS_PER_QUERY", "Chance", "Only", "Texts", "filled", "recall", "speed"]

_PROJECT: Final = ProjectId("bench")
_DIMENSIONS: Final = 256
_CHUNKS_PER_FILE: Final = 500
_DIFFERENT: Final = 5_000  # different ones
_WORDS: Final = 30_000
_WORDS_PER_CHUNK: Final = 150
WORDS_PER_QUERY: Final = 8
SEARCHES: Final = 60
BEST: Final = 10


class Chance(Embedder):
    """Vectors that have nothing to do with the texts: how long a search takes does not depend on that."""

    embedding = Embedding(model="chance", dimensions=_DIMENSIONS)

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self.newest: Sequence[bytes] = ()

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        numbers = self._random.standard_normal((len(texts), _DIMENSIONS)).astype(np.float32)
        numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
        self.newest = [one.astype("<f2").tobytes() for one in numbers]
        return self.newest


class Only(Embedders):
    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def preferred(self) -> Embedder | None:
        return self._embedder

    async def of(self, embedding: Embedding) -> Embedder | None:
        return self._embedder if embedding == self._embedder.embedding else None

    async def close(self) -> None:
        """Nothing is open."""


class Texts:
    """Texts of made-up words, a few of them frequent and most of them rare."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._words = [f"w{number}x" for number in range(_WORDS)]
        weights = 1 / (np.arange(_WORDS) + 20)
        self._bounds = np.cumsum(weights / weights.sum())

        self.chunks = [(text, term_counts(text)) for text in (self.text(_WORDS_PER_CHUNK) for _ in range(_DIFFERENT))]

    def text(self, words: int) -> str:
        places = np.searchsorted(self._bounds, self._random.random(words)).clip(max=_WORDS - 1)
        return " ".join(self._words[place] for place in places)


def speed(directory: Path, chunks: int) -> list[Row]:
    """The first search, which reads the index; further ones; and whether filters lose anything."""
    return asyncio.run(_speed(directory / f"search-{chunks}.db", chunks))


async def _speed(path: Path, chunks: int) -> list[Row]:
    random = np.random.default_rng(1)
    texts, embedder = Texts(random), Chance(random)
    store = await open_sqlite(path)
    try:
        store_id, vectors = await filled(store, texts, embedder, chunks)
        search = Searcher(store, Only(embedder))
        began = time.perf_counter()
        await search.search([store_id], SearchRequest(queries=[texts.text(WORDS_PER_QUERY)], limit=BEST))
        first = time.perf_counter() - began
        taken = []
        for _ in range(SEARCHES):
            wanted = SearchRequest(queries=[texts.text(WORDS_PER_QUERY)], limit=BEST)
            began = time.perf_counter()
            await search.search([store_id], wanted)
            taken.append(1000 * (time.perf_counter() - began))
        found = await recall(search, store_id, embedder, vectors)
    finally:
        await store.close()
    scan, what = _scan_ms(vectors), f"search by words and vectors in {chunks:,} chunks"
    note = f"{shown(median(taken) / scan)}x numpy's product of matrix and vector, {shown(scan)} ms"
    return [
        row(f"{what}, p50", median(taken), " ms", at_most=25 if chunks > 10_000 else 5, understudy=note),
        row(f"{what}, p95", percentile(taken, 95), " ms"),
        row(f"{what}: the first one, which reads the index", first, " s"),
        row(f"{what}: the ten best by vectors under a filter that are the exact ones", found, "", at_least=0.99),
    ]


async def filled(store: Store, texts: Texts, embedder: Embedder, chunks: int) -> tuple[str, NDArray[np.float32]]:
    """A vector store, and its vectors in the order of their files. Every file has its number as an attribute."""
    made = new_vector_store(CreateVectorStore(), store_id=entropy.new_id("vector store"), at=0)
    await store.add_vector_store(_PROJECT, NewVectorStore(store=made, embedding=embedder.embedding))
    vectors = []
    for number in range(chunks // _CHUNKS_PER_FILE):
        file = File(id=entropy.new_id("file"), bytes=1, created_at=0, filename="bench.txt", purpose="assistants")
        await store.expect_blob(file.id, until=1)
        await store.add_file(_PROJECT, StoredFile(file=file, blob=file.id, mime_type="text/plain"))
        attached = NewStoreFile(file_id=file.id, chunking=AUTO_CHUNKING, attributes={"number": number})
        await store.attach_files(_PROJECT, made.id, [attached], at=0)
        [job] = await store.claim_ingest("bench", 0, 60, limit=1)
        first = number * _CHUNKS_PER_FILE % _DIFFERENT
        passages = texts.chunks[first : first + _CHUNKS_PER_FILE]
        packed = await embedder.embed([text for text, _ in passages])
        new = [
            Chunk(number=place, text=text, tokens=_WORDS_PER_CHUNK, terms=terms, vector=vector)
            for place, ((text, terms), vector) in enumerate(zip(passages, packed, strict=True))
        ]
        await store.put_chunks("bench", job.generation, new)
        await store.finish_ingest("bench", job.generation, chunks=len(new), usage_bytes=1)
        vectors += [np.frombuffer(one, "<f2").astype(np.float32) for one in packed]
    return made.id, np.stack(vectors)


async def recall(search: Searcher, store_id: str, embedder: Chance, vectors: NDArray[np.float32]) -> float:
    """By queries without a word, which only vectors answer, in the second half of the files."""
    middle = len(vectors) // 2
    where = GreaterOrEqual(key="number", value=middle // _CHUNKS_PER_FILE)
    hits = 0
    for _ in range(SEARCHES):
        found = await search.search([store_id], SearchRequest(queries=["the"], limit=BEST, where=where))
        asked = np.frombuffer(embedder.newest[0], "<f2").astype(np.float32)
        exact = set((middle + np.argsort(-(vectors[middle:] @ asked))[:BEST]).tolist())
        places = {_CHUNKS_PER_FILE * int(one.attributes["number"]) + one.number for one in found}
        hits += len(places & exact)
    return hits / (BEST * SEARCHES)


def _scan_ms(vectors: NDArray[np.float32]) -> float:
    """The yardstick: numpy multiplies all vectors with one, in one thread."""
    taken = []
    for _ in range(SEARCHES):
        began = time.perf_counter()
        np.einsum("ij,j->i", vectors, vectors[0])
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)
