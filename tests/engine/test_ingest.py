"""One file of a vector store, from its content to chunks that can be searched."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from support.clock import Clock
from support.indexing import OWNER, WORDS, Desk, open_desk
from support.search import OtherEmbedder
from support.talk import polled
from support.weights import write_static_weights
from understudy.core.limits import EMBED_ATTEMPTS_MAX, INGEST_ATTEMPTS_MAX
from understudy.documents.reader import ChildDocuments
from understudy.embeddings.static import STATIC
from understudy.ports import Embedding, EmbeddingFailed
from understudy.retrieval.static import StaticModel

SOON = {"retry_seconds": 0.0, "embed_retry_seconds": 0.0}


class Wavering(OtherEmbedder):
    """Fails that many times before it answers."""

    def __init__(self, failures: int, *, retryable: bool = True) -> None:
        self.failures = failures
        self.asked = 0
        self._retryable = retryable

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        self.asked += 1
        if self.asked <= self.failures:
            raise EmbeddingFailed("The embedding model is away.", retryable=self._retryable)
        return await super().embed(texts)


@pytest.fixture(scope="module")
async def documents(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChildDocuments]:
    made = ChildDocuments(places=2, weights=write_static_weights(tmp_path_factory.mktemp("weights")))
    yield made
    await made.close()


@pytest.fixture
async def desk(tmp_path: Path, documents: ChildDocuments) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, documents, clock=Clock()) as opened:
        yield opened


async def attached(desk: Desk, content: str | bytes = WORDS, embedding: Embedding | None = None) -> tuple[str, str]:
    """A store's id, and that of its only file."""
    file_id = await desk.add("notes.txt", content)
    return await desk.store_with(file_id, embedding=embedding), file_id


async def vectors(desk: Desk, store_id: str, embedding: Embedding) -> list[bytes | None]:
    head = await desk.store.index_head(store_id)
    assert head is not None
    rows = [row for file in head.files for row in await desk.store.index_rows(file.generation, embedding)]
    return [row.vector for row in rows]


async def test_a_file_becomes_its_chunks(desk: Desk) -> None:
    store_id, file_id = await attached(desk, WORDS * 200)
    await desk.index()
    done = await desk.file(store_id, file_id)
    texts = await desk.texts(store_id, file_id)
    assert (done.status, done.last_error) == ("completed", None)
    assert len(texts) == 5
    assert (WORDS * 200).startswith(texts[0])
    assert (WORDS * 200).endswith(texts[-1])
    assert done.usage_bytes > sum(map(len, texts))


async def test_a_file_that_cannot_be_read_fails_with_the_reason(desk: Desk) -> None:
    store_id, file_id = await attached(desk, b"")
    await desk.index()
    failed = await desk.file(store_id, file_id)
    assert failed.status == "failed"
    assert failed.last_error is not None
    assert failed.last_error.code == "invalid_file"
    assert failed.last_error.message == "The file could not be parsed because it is empty."


async def test_vectors_of_the_built_in_embedding_come_from_the_child(desk: Desk, tmp_path: Path) -> None:
    store_id, _ = await attached(desk, "the red cat", STATIC)
    await desk.index()
    model = StaticModel.load(write_static_weights(tmp_path / "weights"))
    assert await vectors(desk, store_id, STATIC) == model.embed(["the red cat"])


async def test_vectors_of_another_embedding_are_asked_for(desk: Desk) -> None:
    embedder = Wavering(0)
    store_id, file_id = await attached(desk, WORDS * 5000, embedder.embedding)
    await desk.index(embedder)
    texts = await desk.texts(store_id, file_id)
    assert await vectors(desk, store_id, embedder.embedding) == await embedder.embed(texts)
    assert 1 < embedder.asked < 10


async def test_an_embedding_that_fails_for_a_moment_is_asked_again(desk: Desk) -> None:
    embedder = Wavering(EMBED_ATTEMPTS_MAX - 1)
    store_id, file_id = await attached(desk, embedding=embedder.embedding)
    await desk.index(embedder, **SOON)
    assert (await desk.file(store_id, file_id)).status == "completed"


async def test_an_embedding_that_stays_away_puts_the_file_off_and_fails_it_at_last(desk: Desk) -> None:
    embedder = Wavering(1000)
    store_id, file_id = await attached(desk, embedding=embedder.embedding)
    for attempt in range(1, INGEST_ATTEMPTS_MAX + 1):
        assert (await desk.file(store_id, file_id)).status == "in_progress"
        await desk.index(embedder, retry_seconds=10, embed_retry_seconds=0)
        assert await desk.claim() == []
        desk.clock.advance(10 * 2 ** (attempt - 1))
    failed = await desk.file(store_id, file_id)
    assert failed.last_error is not None
    assert (failed.last_error.code, failed.last_error.message) == ("server_error", "The embedding model is away.")
    assert embedder.asked == INGEST_ATTEMPTS_MAX * EMBED_ATTEMPTS_MAX


async def test_an_embedding_that_comes_back_finishes_the_file(desk: Desk) -> None:
    embedder = Wavering(EMBED_ATTEMPTS_MAX)
    store_id, file_id = await attached(desk, embedding=embedder.embedding)
    await desk.index(embedder, **SOON)
    await desk.index(embedder, **SOON)
    assert (await desk.file(store_id, file_id)).status == "completed"


async def test_a_final_no_of_the_embedding_is_not_asked_again(desk: Desk) -> None:
    embedder = Wavering(1000, retryable=False)
    store_id, file_id = await attached(desk, embedding=embedder.embedding)
    await desk.index(embedder, **SOON)
    failed = await desk.file(store_id, file_id)
    assert failed.last_error is not None
    assert (failed.last_error.code, embedder.asked) == ("server_error", 1)


async def test_an_embedding_that_nobody_makes_is_named(desk: Desk) -> None:
    store_id, file_id = await attached(desk, embedding=Embedding(model="gone-1", dimensions=8))
    for _ in range(INGEST_ATTEMPTS_MAX):
        await desk.index(**SOON)
    failed = await desk.file(store_id, file_id)
    assert failed.last_error is not None
    assert failed.last_error.code == "server_error"
    assert "gone-1" in failed.last_error.message


async def test_content_that_cannot_be_read_is_the_servers_fault(desk: Desk) -> None:
    store_id, file_id = await attached(desk)
    (job,) = await desk.claim()
    await desk.blobs.delete(job.stored.blob)
    await desk.store.release_ingest(OWNER, [job.generation])
    for _ in range(INGEST_ATTEMPTS_MAX):
        await desk.index(**SOON)
    failed = await desk.file(store_id, file_id)
    assert failed.last_error is not None
    assert failed.last_error.code == "server_error"


async def test_what_was_broken_off_is_done_again_and_no_chunk_is_there_twice(desk: Desk) -> None:
    content = WORDS * 10_000
    store_id, file_id = await attached(desk, content)
    (job,) = await desk.claim()
    work = asyncio.create_task(desk.ingest().index(job, OWNER))

    async def some_chunks() -> bool | None:
        return True if await desk.store.index_rows(job.generation, None) else None

    await polled(some_chunks, seconds=20)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert await desk.texts(store_id, file_id) == []
    desk.clock.advance(60)
    await desk.index()
    whole = await attached(desk, content)
    await desk.index()
    assert await desk.texts(store_id, file_id) == await desk.texts(*whole)


async def test_a_job_that_another_has_by_now_is_left_to_it(desk: Desk) -> None:
    store_id, file_id = await attached(desk, WORDS * 2000)
    (slow,) = await desk.claim("slow")
    desk.clock.advance(60)
    (quick,) = await desk.claim("quick")
    await desk.ingest().index(slow, "slow")
    assert (await desk.file(store_id, file_id)).status == "in_progress"
    assert await desk.store.index_rows(slow.generation, None) == []
    await desk.ingest().index(quick, "quick")
    assert (await desk.file(store_id, file_id)).status == "completed"


async def test_a_file_that_is_detached_meanwhile_leaves_nothing(desk: Desk) -> None:
    store_id, file_id = await attached(desk)
    (job,) = await desk.claim()
    await desk.store.detach_file(job.project, store_id, file_id)
    await desk.ingest().index(job, OWNER)
    assert await desk.store.store_file(job.project, store_id, file_id) is None
    assert await desk.texts(store_id, file_id) == []


async def test_attached_again_a_file_is_searched_as_before_until_it_is_indexed_anew(desk: Desk) -> None:
    store_id, file_id = await attached(desk)
    await desk.index()
    before = await desk.texts(store_id, file_id)
    await desk.attach(store_id, file_id)
    assert await desk.texts(store_id, file_id) == before
    await desk.index()
    assert await desk.texts(store_id, file_id) == before
    assert (await desk.file(store_id, file_id)).status == "completed"
