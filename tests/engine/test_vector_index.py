"""Whether vectors are compared in memory or by pgvector, a search finds the same."""

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.pgvector import Searched, open_searched
from support.search import FixedEmbedders, add_document, add_store, found
from support.weights import real_static_model
from understudy.embeddings.static import StaticEmbedder
from understudy.engine.search import Searcher
from understudy.ports import Embedder, Embedding, Passage
from understudy.wire.vector_stores import Equal, Filter, GreaterOrEqual, NotEqual

WORDS = ["wing", "flow", "heat", "plate", "shock", "cat", "dog"]
PAGES = Path(__file__).parents[2] / "docs"


class Chance(Embedder):
    """Texts are where chance has put them, and the same texts in the same place."""

    def __init__(self, name: str, dimensions: int) -> None:
        self.embedding = Embedding(model=name, dimensions=dimensions)

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        made = []
        for text in texts:
            seed = np.frombuffer(f"{self.embedding.model} {text}".encode(), np.uint8)
            vector = np.random.default_rng(seed).standard_normal(self.embedding.dimensions)
            made.append((vector / np.linalg.norm(vector)).astype("<f2").tobytes())
        return made


NEAR, FAR = Chance("near", 8), Chance("far", 24)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
files = st.lists(texts, min_size=1, max_size=6)
filters = st.one_of(
    st.none(),
    st.builds(GreaterOrEqual, key=st.just("number"), value=st.integers(0, 4)),
    st.builds(Equal, key=st.just("number"), value=st.integers(0, 4)),
    st.builds(NotEqual, key=st.just("number"), value=st.integers(0, 4)),
)


@pytest.fixture(scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Searched]:
    async with open_searched("pgvector", tmp_path_factory.mktemp("kept")) as opened:
        yield opened


def both(kept: Searched, *embedders: Embedder) -> tuple[Searcher, Searcher]:
    """A search in memory, and one by pgvector, in the same rows."""
    chosen = FixedEmbedders(*embedders)
    return Searcher(kept.store, chosen), Searcher(kept.store, chosen, vectors=kept.vectors)


def shown(passages: Sequence[Passage]) -> list[tuple[str, int]]:
    return [(passage.file_id, passage.number) for passage in passages]


@given(
    st.lists(st.tuples(st.sampled_from([NEAR, FAR]), st.lists(files, max_size=4)), min_size=1, max_size=3),
    st.lists(texts, min_size=1, max_size=3),
    filters,
    st.integers(1, 50),
)
async def test_pgvector_ranks_as_memory_does(
    kept: Searched,
    shelves: list[tuple[Chance, list[list[str]]]],
    queries: list[str],
    where: Filter | None,
    limit: int,
) -> None:
    stores = []
    for embedder, documents in shelves:
        stores.append(await add_store(kept.store, embedder.embedding))
        for number, document in enumerate(documents):
            await add_document(kept.store, stores[-1], *document, by=embedder, number=number)
    in_memory, by_pgvector = both(kept, NEAR, FAR)
    expected = await found(in_memory, stores, *queries, where=where, limit=limit)
    passages = await found(by_pgvector, stores, *queries, where=where, limit=limit)
    assert shown(passages) == shown(expected)
    assert [one.score for one in passages] == pytest.approx([one.score for one in expected], abs=1e-4)
    assert [one.text for one in passages] == [one.text for one in expected]


async def test_real_texts_are_found_as_in_memory_under_filters_too(kept: Searched) -> None:
    embedder = StaticEmbedder(real_static_model())
    store = await add_store(kept.store, embedder.embedding)
    passages = []
    for number, page in enumerate(sorted(PAGES.glob("**/*.md"))):
        words = page.read_text("utf-8").split()
        passages += [(number, " ".join(words[start : start + 60])) for start in range(0, len(words), 40)]
        texts_ = [text for file, text in passages if file == number]
        await add_document(kept.store, store, *texts_, by=embedder, number=number)
    queries = [" ".join(re.findall(r"[a-z]+", text)[5:12]) for _, text in passages[:: len(passages) // 40]]
    in_memory, by_pgvector = both(kept, embedder)
    hits = wanted = 0
    for query in queries:
        for where in (None, GreaterOrEqual(key="number", value=8)):
            expected = await found(in_memory, store, query, where=where)
            same = await found(by_pgvector, store, query, where=where)
            hits += len(set(shown(expected)) & set(shown(same)))
            wanted += len(expected)
    assert wanted > 500
    assert hits >= 0.99 * wanted


async def test_no_vector_is_read_into_memory(kept: Searched) -> None:
    store = await add_store(kept.store, FAR.embedding)
    await add_document(kept.store, store, *WORDS, by=FAR)
    in_memory, by_pgvector = both(kept, FAR)
    for search in (in_memory, by_pgvector):
        await found(search, store, "wing")
    [whole], [words] = in_memory._indexes._kept.values(), by_pgvector._indexes._kept.values()
    assert [segment.vectors for segment in words.segments] == [None]
    assert whole.nbytes - words.nbytes == len(WORDS) * FAR.embedding.dimensions * 4
