"""Search over real rows: what is found, in which order, with which scores, while stores change."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support.pgvector import COMPARED_IN, Searched, open_searched
from support.search import FixedEmbedders, OtherEmbedder, add_document, add_store, embedder, found, texts_of
from support.store import PROJECT, refusal
from understudy.core.limits import FILTER_PARTS_MAX, QUERIES_MAX
from understudy.engine.search import Searcher
from understudy.ports import Embedding, EmbeddingFailed, Reranker, RerankFailed, SearchRefused, Store, VectorIndex
from understudy.wire.vector_stores import Equal, In

STATIC = embedder().embedding
LETTERS = OtherEmbedder()


@pytest.fixture(params=COMPARED_IN)
async def searched(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Searched]:
    async with open_searched(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(searched: Searched) -> Store:
    return searched.store


@pytest.fixture
def vectors(searched: Searched) -> VectorIndex | None:
    return searched.vectors


@pytest.fixture
def search(store: Store, vectors: VectorIndex | None) -> Searcher:
    return Searcher(store, FixedEmbedders(embedder(), LETTERS), vectors=vectors)


async def test_a_passage_is_found_with_all_that_is_known_of_it(store: Store, search: Searcher) -> None:
    store_id = await add_store(store, STATIC)
    file_id = await add_document(store, store_id, "dogs bark", "the wing of a plane", by=embedder(), year=2024)
    [passage] = await found(search, store_id, "a wing", limit=1)
    assert (passage.store_id, passage.file_id, passage.file_name) == (store_id, file_id, "notes.txt")
    assert (passage.text, passage.number, passage.page) == ("the wing of a plane", 1, 2)
    assert passage.attributes == {"year": 2024}
    assert 0 < passage.score <= 1


async def test_words_and_meaning_both_find(store: Store, search: Searcher) -> None:
    store_id = await add_store(store, STATIC)
    await add_document(store, store_id, "flow", "part 4711-x", "red green blue", by=embedder())
    assert texts_of(await found(search, store_id, "4711"))[0] == "part 4711-x"
    assert texts_of(await found(search, store_id, "wing"))[0] == "flow"


async def test_scores_fall_with_the_order_and_a_threshold_cuts_them_off(store: Store, search: Searcher) -> None:
    store_id = await add_store(store, STATIC)
    texts = ["wing flow heat", "wing flow", "wing", "flow cat dog", "cat dog bark", "red"]
    await add_document(store, store_id, *texts, by=embedder())
    passages = await found(search, store_id, "wing flow heat")
    scores = [passage.score for passage in passages]
    assert texts_of(passages)[0] == "wing flow heat"
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    threshold = scores[1]
    above = await found(search, store_id, "wing flow heat", score_threshold=threshold)
    assert above == [passage for passage in passages if passage.score >= threshold]
    assert await found(search, store_id, "wing flow heat", limit=2) == passages[:2]


async def test_several_queries_are_answered_together(store: Store, search: Searcher) -> None:
    store_id = await add_store(store)
    await add_document(store, store_id, "wings of a plane", "barking dogs", "wings of barking dogs", "blue")
    assert texts_of(await found(search, store_id, "wing", "bark"))[0] == "wings of barking dogs"
    assert len(await found(search, store_id, "wing", "bark")) == 3


async def test_several_stores_are_one_collection(store: Store, search: Searcher) -> None:
    first, second = await add_store(store, STATIC), await add_store(store, STATIC)
    await add_document(store, first, "wing", "dog", by=embedder())
    await add_document(store, second, "wing flow", "cat", by=embedder())
    passages = await found(search, [first, second, first], "wing flow", limit=2)
    assert [(passage.store_id, passage.text) for passage in passages] == [(second, "wing flow"), (first, "wing")]


async def test_stores_of_different_spaces_are_fused(store: Store, search: Searcher) -> None:
    ids = [await add_store(store, space) for space in (STATIC, LETTERS.embedding, None)]
    await add_document(store, ids[0], "wing", by=embedder())
    await add_document(store, ids[1], "wonder", by=LETTERS)
    await add_document(store, ids[2], "wing nut")
    assert set(texts_of(await found(search, ids, "wing"))) == {"wing", "wonder", "wing nut"}


async def test_a_filter_lets_only_matching_files_through(store: Store, search: Searcher) -> None:
    store_id = await add_store(store, STATIC)
    await add_document(store, store_id, "wing one", by=embedder(), lang="en")
    await add_document(store, store_id, "wing two", by=embedder(), lang="de")
    await add_document(store, store_id, "wing three", by=embedder())
    assert texts_of(await found(search, store_id, "wing", where=Equal(key="lang", value="de"))) == ["wing two"]
    assert await found(search, store_id, "wing", where=Equal(key="lang", value="fr")) == []


async def test_a_change_of_attributes_is_seen_by_the_next_search(store: Store, search: Searcher) -> None:
    store_id = await add_store(store)
    file_id = await add_document(store, store_id, "wing", lang="en")
    german = Equal(key="lang", value="de")
    assert await found(search, store_id, "wing", where=german) == []
    await store.set_attributes(PROJECT, store_id, file_id, {"lang": "de"})
    assert texts_of(await found(search, store_id, "wing", where=german)) == ["wing"]


async def test_files_that_come_and_go_are_seen_by_the_next_search(store: Store, search: Searcher) -> None:
    store_id = await add_store(store, STATIC)
    assert await found(search, store_id, "wing") == []
    kept = await add_document(store, store_id, "wing of a bird", by=embedder())
    gone = await add_document(store, store_id, "wing of a plane", by=embedder())
    assert len(await found(search, store_id, "wing")) == 2
    await store.detach_file(PROJECT, store_id, gone)
    assert [passage.file_id for passage in await found(search, store_id, "wing")] == [kept]
    await add_document(store, store_id, "wing of a house", by=embedder(), file_id=kept)
    assert texts_of(await found(search, store_id, "wing")) == ["wing of a house"]
    await store.delete_vector_store(PROJECT, store_id)
    assert await found(search, store_id, "wing") == []


async def test_a_store_that_does_not_exist_has_nothing(search: Searcher) -> None:
    assert await found(search, "vs_none", "wing") == []
    assert await found(search, [], "wing") == []


async def test_a_query_without_words_finds_by_meaning_or_nothing(store: Store, search: Searcher) -> None:
    store_id = await add_store(store)
    await add_document(store, store_id, "wing")
    assert await found(search, store_id, "the of and") == []
    assert await found(search, store_id, "\ud800 ?!") == []


async def test_a_space_that_nobody_embeds_any_more_is_searched_by_words_with_a_log_line(
    store: Store, vectors: VectorIndex | None
) -> None:
    space = Embedding(model="of old", dimensions=26)
    store_id = await add_store(store, space)
    await add_document(store, store_id, "wing flow", "walrus", by=LETTERS)
    with capture_logs() as logs:
        passages = await found(Searcher(store, FixedEmbedders(embedder()), vectors=vectors), store_id, "wing")
    assert texts_of(passages) == ["wing flow"]
    assert [(line["event"], line["model"]) for line in logs] == [("searched_by_words_alone", "of old")]


class Away(OtherEmbedder):
    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        raise EmbeddingFailed(f"The model server is away for {len(texts)} texts.", retryable=True)


async def test_an_embedding_server_that_is_away_is_an_error(store: Store, vectors: VectorIndex | None) -> None:
    store_id = await add_store(store, LETTERS.embedding)
    await add_document(store, store_id, "wing", by=LETTERS)
    failed = await refusal(
        EmbeddingFailed, found(Searcher(store, FixedEmbedders(Away()), vectors=vectors), store_id, "wing")
    )
    assert failed.retryable


@pytest.mark.parametrize(
    ("queries", "where", "param"),
    [(["w"] * (QUERIES_MAX + 1), None, "query"), (["w"], In(key="k", value=[1] * FILTER_PARTS_MAX), "filters")],
)
async def test_too_much_at_once_is_refused(
    store: Store, search: Searcher, queries: list[str], where: In | None, param: str
) -> None:
    store_id = await add_store(store)
    await add_document(store, store_id, "wing")
    refused = await refusal(SearchRefused, found(search, store_id, *queries, where=where))
    assert refused.param == param


class ByLength(Reranker):
    """The longest text is best."""

    async def scores(self, _query: str, texts: Sequence[str]) -> Sequence[float]:
        return [min(1.0, len(text) / 100) for text in texts]


class Broken(Reranker):
    async def scores(self, *_asked: object) -> Sequence[float]:
        raise RerankFailed("It is away.")


async def test_a_reranker_has_the_last_word_unless_it_is_not_wanted(store: Store, vectors: VectorIndex | None) -> None:
    store_id = await add_store(store)
    await add_document(store, store_id, "wing", "a wing that goes on", "a wing")
    search = Searcher(store, FixedEmbedders(), ByLength(), vectors=vectors)
    reranked = await found(search, store_id, "wing", limit=2, score_threshold=0.05)
    assert texts_of(reranked) == ["a wing that goes on", "a wing"]
    assert [passage.score for passage in reranked] == [0.19, 0.06]
    assert texts_of(await found(search, store_id, "wing", ranker="none"))[0] == "wing"


async def test_a_reranker_that_fails_leaves_the_order_with_a_log_line(store: Store) -> None:
    store_id = await add_store(store)
    await add_document(store, store_id, "wing", "a wing that goes on")
    with capture_logs() as logs:
        passages = await found(Searcher(store, FixedEmbedders(), Broken()), store_id, "wing")
    assert passages == await found(Searcher(store, FixedEmbedders()), store_id, "wing")
    assert [line["event"] for line in logs] == ["rerank_failed"]


async def test_only_new_files_are_read_again(store: Store) -> None:
    read: list[int] = []

    class Watched:
        """The store, noting which files' rows are read."""

        def __getattr__(self, name: str) -> object:
            if name == "index_rows":
                return self.rows
            return getattr(store, name)

        async def rows(self, generation: int, embedding: Embedding | None) -> object:
            read.append(generation)
            return await store.index_rows(generation, embedding)

    search = Searcher(Watched(), FixedEmbedders())
    store_id = await add_store(store)
    await add_document(store, store_id, "wing one")
    await add_document(store, store_id, "wing two")
    await found(search, store_id, "wing")
    await add_document(store, store_id, "wing three")
    for _ in range(2):
        assert len(await found(search, store_id, "wing")) == 3
    assert len(read) == len(set(read)) == 3


async def test_indexes_beyond_the_bound_are_let_go_and_come_back(store: Store, vectors: VectorIndex | None) -> None:
    search = Searcher(store, FixedEmbedders(), vectors=vectors, cache_bytes=1)
    ids = [await add_store(store) for _ in range(3)]
    for store_id in ids:
        await add_document(store, store_id, "wing")
    for _ in range(2):
        for store_id in ids:
            assert len(await found(search, store_id, "wing")) == 1
    assert len(search._indexes._kept) == 1
