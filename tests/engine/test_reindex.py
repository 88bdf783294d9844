"""A store that changes its embedding answers all the while."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from support.pgvector import COMPARED_IN, Searched, open_searched
from support.search import FixedEmbedders, OtherEmbedder, add_document, add_store, embedder, found, texts_of
from support.store import PROJECT
from understudy.core import limits
from understudy.engine.reindex import reindex
from understudy.engine.search import Searcher
from understudy.ports import EmbeddingFailed, Store

LETTERS = OtherEmbedder()


@pytest.fixture(params=COMPARED_IN)
async def searched(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Searched]:
    async with open_searched(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(searched: Searched) -> Store:
    return searched.store


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.engine.reindex.REINDEX_CHUNKS", 2)


class Interrupted(OtherEmbedder):
    """Works so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        if self.times == 0:
            raise EmbeddingFailed("The model server is away.", retryable=True)
        self.times -= 1
        self.texts += texts
        return await super().embed(texts)


async def test_a_store_is_searched_in_the_new_space_once_all_is_there(store: Store, searched: Searched) -> None:
    store_id = await add_store(store, embedder().embedding)
    await add_document(store, store_id, "flow", "wonder", "dog", by=embedder())
    await add_document(store, store_id, "walrus", "cat", by=embedder())
    assert await store.stores_outside(LETTERS.embedding) == [store_id]
    assert await store.missing_vectors_count(store_id, LETTERS.embedding) == 5
    counted: list[int] = []
    assert await reindex(store, LETTERS, store_id, done=counted.append)
    assert sum(counted) == 5
    assert await store.stores_outside(LETTERS.embedding) == []
    search = Searcher(store, FixedEmbedders(LETTERS), vectors=searched.vectors)
    assert set(texts_of(await found(search, store_id, "wing", limit=2))) == {"wonder", "walrus"}


async def test_the_old_vectors_answer_until_then_and_nothing_is_embedded_twice(
    store: Store, searched: Searched
) -> None:
    store_id = await add_store(store, embedder().embedding)
    await add_document(store, store_id, "flow", "wonder", "dog", "cat", by=embedder())
    search = Searcher(store, FixedEmbedders(embedder(), LETTERS), vectors=searched.vectors)
    before = await found(search, store_id, "wing")
    half = Interrupted(1)
    with pytest.raises(EmbeddingFailed):
        await reindex(store, half, store_id, done=lambda _: None)
    assert await found(search, store_id, "wing") == before
    rest = Interrupted(9)
    assert await reindex(store, rest, store_id, done=lambda _: None)
    assert sorted(half.texts + rest.texts) == ["cat", "dog", "flow", "wonder"]


async def test_a_store_without_vectors_gets_some(store: Store, searched: Searched) -> None:
    store_id = await add_store(store)
    await add_document(store, store_id, "wonder")
    assert await reindex(store, LETTERS, store_id, done=lambda _: None)
    assert texts_of(
        await found(Searcher(store, FixedEmbedders(LETTERS), vectors=searched.vectors), store_id, "wing")
    ) == ["wonder"]


async def test_files_that_come_meanwhile_are_caught_up_with(store: Store, searched: Searched) -> None:
    store_id = await add_store(store)
    await add_document(store, store_id, "wonder")

    class Filled(OtherEmbedder):
        """Somebody adds a file at the first call."""

        added = False

        async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
            if not self.added:
                self.added = True
                await add_document(store, store_id, "walrus")
            return await super().embed(texts)

    assert await reindex(store, Filled(), store_id, done=lambda _: None)
    assert len(await found(Searcher(store, FixedEmbedders(LETTERS), vectors=searched.vectors), store_id, "wing")) == 2


async def test_a_store_that_is_gone_is_not_done(store: Store) -> None:
    store_id = await add_store(store)
    await store.delete_vector_store(PROJECT, store_id)
    assert not await reindex(store, LETTERS, store_id, done=lambda _: None)
    assert limits.REINDEX_SWITCHES_MAX > 1
