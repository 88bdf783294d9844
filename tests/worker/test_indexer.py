"""Files that are to be indexed: taken at once, a few at a time, renewed, handed back, and taken over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.indexing import WORDS, Desk, open_desk
from support.talk import polled
from understudy.documents.reader import ChildDocuments
from understudy.worker.indexer import Indexer

NEVER = 3600.0


@pytest.fixture(scope="module")
async def documents(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChildDocuments]:
    made = ChildDocuments(places=4, weights=tmp_path_factory.mktemp("none"))
    yield made
    await made.close()


@pytest.fixture
async def desk(tmp_path: Path, documents: ChildDocuments) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, documents) as opened:
        yield opened


@asynccontextmanager
async def indexing(desk: Desk, owner: str = "one", **options: float) -> AsyncIterator[Indexer]:
    """It looks for work when it is woken, unless it is told to look more often."""
    made = {"places": 2, "look_seconds": NEVER} | options
    indexer = Indexer(desk.store, desk.ingest(), desk.clock, owner=owner, **made)
    indexer.start()
    try:
        yield indexer
    finally:
        await indexer.stop()


async def until_some_chunks(desk: Desk, generation: int = 1) -> None:
    async def look() -> bool | None:
        return True if await desk.store.index_rows(generation, None) else None

    await polled(look, seconds=20)


async def test_a_woken_indexer_begins_at_once(desk: Desk) -> None:
    async with indexing(desk) as indexer:
        file_id = await desk.add("a.txt", WORDS)
        store_id = await desk.store_with(file_id)
        indexer.wake()
        await desk.until(store_id, file_id, "completed")


async def test_what_nobody_told_of_is_found_by_looking(desk: Desk) -> None:
    async with indexing(desk, look_seconds=0.01):
        file_id = await desk.add("a.txt", WORDS)
        store_id = await desk.store_with(file_id)
        await desk.until(store_id, file_id, "completed")


async def test_more_files_than_places_are_all_indexed(desk: Desk) -> None:
    file_ids = [await desk.add(f"{number}.txt", WORDS * number) for number in range(1, 8)]
    store_id = await desk.store_with(*file_ids)
    async with indexing(desk) as indexer:
        indexer.wake()
        for file_id in file_ids:
            await desk.until(store_id, file_id, "completed")


async def test_an_indexer_without_places_takes_nothing(desk: Desk) -> None:
    store_id = await desk.store_with(await desk.add("a.txt", WORDS))
    async with indexing(desk, places=0) as indexer:
        indexer.wake()
    assert len(await desk.claim()) == 1
    assert await desk.store.being_indexed([store_id])


async def test_a_stopped_indexer_hands_its_file_on_as_if_it_had_not_begun(desk: Desk) -> None:
    file_id = await desk.add("a.txt", WORDS * 20_000)
    store_id = await desk.store_with(file_id)
    async with indexing(desk) as indexer:
        indexer.wake()
        await until_some_chunks(desk)
    (job,) = await desk.claim()
    assert job.attempts == 1
    assert (await desk.file(store_id, file_id)).status == "in_progress"


async def test_a_file_that_takes_long_keeps_its_lease(desk: Desk) -> None:
    file_id = await desk.add("a.txt", WORDS * 10_000)
    store_id = await desk.store_with(file_id)
    async with indexing(desk, lease_seconds=0.2, renew_seconds=0.02) as indexer:
        indexer.wake()
        await until_some_chunks(desk)
        async with asyncio.timeout(20):
            while (await desk.file(store_id, file_id)).status == "in_progress":
                assert await desk.claim("other") == []
                await asyncio.sleep(0.01)
    assert (await desk.file(store_id, file_id)).status == "completed"


async def test_a_file_that_is_detached_is_let_go_of(desk: Desk) -> None:
    file_id = await desk.add("a.txt", WORDS * 20_000)
    store_id = await desk.store_with(file_id)
    async with indexing(desk, places=1, renew_seconds=0.02) as indexer:
        indexer.wake()
        await until_some_chunks(desk)
        await desk.store.delete_vector_store("proj_a", store_id)
        next_id = await desk.add("b.txt", WORDS)
        await desk.attach(other := await desk.store_with(), next_id)
        indexer.wake()
        await desk.until(other, next_id, "completed")


async def test_a_lost_indexers_file_is_taken_over_when_its_lease_runs_out(desk: Desk) -> None:
    file_id = await desk.add("a.txt", WORDS)
    store_id = await desk.store_with(file_id)
    assert len(await desk.claim("lost", seconds=0.2)) == 1
    async with indexing(desk, look_seconds=0.01):
        await desk.until(store_id, file_id, "completed")


async def test_two_processes_share_the_files(tmp_path: Path, desk: Desk, documents: ChildDocuments) -> None:
    file_ids = [await desk.add(f"{number}.txt", WORDS * 9 * number) for number in range(1, 7)]
    async with (
        open_desk(tmp_path, documents) as other,
        indexing(desk, "one", look_seconds=0.005),
        indexing(other, "two", look_seconds=0.005),
    ):
        store_id = await desk.store_with(*file_ids)
        for file_id in file_ids:
            await desk.until(store_id, file_id, "completed")
    texts = [await desk.texts(store_id, file_id) for file_id in file_ids]
    assert [len(one[0]) for one in texts] == sorted(len(one[0]) for one in texts)
    head = await desk.store.index_head(store_id)
    assert head is not None
    assert len(head.files) == len(file_ids)
