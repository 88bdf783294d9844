"""What every store does with the files of vector stores: attached, listed, labelled, detached, and batched."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.store import ENGINES, NOON, OTHER, PROJECT, open_engine, refusal
from support.vectors import (
    ALL,
    added_file,
    added_files,
    added_store,
    attached,
    chunk,
    claimed,
    indexed,
    new_batch,
    new_file,
    pruned,
    store_files,
    stored,
)
from understudy.ports import IndexHead, Missing, PageQuery, Store
from understudy.wire.tools import StaticChunkingOptions
from understudy.wire.vector_stores import BATCH_FILES_MAX, FileCounts, VectorStoreFileBatch


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def _head(store: Store, store_id: str) -> IndexHead:
    head = await store.index_head(store_id)
    assert head is not None
    assert head.version == await store.index_version(store_id)
    return head


async def test_an_attached_file_is_in_line_with_what_it_was_given(store: Store) -> None:
    store_id, file_id = await added_store(store), await added_file(store)
    chunking = StaticChunkingOptions(max_chunk_size_tokens=100, chunk_overlap_tokens=0)
    new = replace(new_file(file_id, year=2024, score=1.0, draft=True), chunking=chunking)
    (made,) = await store.attach_files(PROJECT, store_id, [new], at=NOON + 5)
    assert (made.id, made.status, made.created_at) == (file_id, "in_progress", NOON + 5)
    assert made.chunking_strategy.static == chunking
    found = await attached(store, store_id, file_id)
    assert found == made
    # 1.0 stays a decimal number, 2024 an integer.
    assert [type(value) for value in found.attributes.values()] == [int, float, bool]
    (job,) = await claimed(store)
    assert (job.project, job.store_id, job.stored.file.id, job.chunking) == (PROJECT, store_id, file_id, chunking)
    assert job.stored.blob == f"blob-{file_id}"


async def test_a_file_of_another_project_is_not_attached(store: Store) -> None:
    store_id, own = await added_store(store), await added_file(store)
    foreign = await added_file(store, project=OTHER)
    files = [new_file(own), new_file(foreign)]
    missing = await refusal(Missing, store.attach_files(PROJECT, store_id, files, at=NOON))
    assert (missing.kind, missing.id) == ("file", foreign)
    assert await store.store_file(PROJECT, store_id, own) is None
    assert await store.store_file(OTHER, store_id, own) is None


async def test_attaching_again_indexes_again_and_keeps_the_files_place(store: Store) -> None:
    first, second = await added_files(store, 2)
    store_id = await added_store(store, first, second)
    older = (await indexed(store, "old"))[0]
    await store.attach_files(PROJECT, store_id, [new_file(first, lang="en")], at=NOON + 5)
    found = await attached(store, store_id, first)
    assert (found.status, found.created_at, found.usage_bytes) == ("in_progress", NOON, 10)
    assert list((await store_files(store, store_id)).ids) == [first, second]
    head = await _head(store, store_id)
    assert [(one.generation, one.attributes) for one in head.files if one.file_id == first] == [
        (older.generation, {"lang": "en"})
    ]
    assert await store.file_texts(store_id, first) == ["old"]
    (newer,) = await indexed(store, "new", "newer")
    assert newer.generation > older.generation
    assert await store.file_texts(store_id, first) == ["new", "newer"]
    await pruned(store)
    assert await store.index_rows(older.generation, None) == []
    assert len(await store.index_rows(newer.generation, None)) == 2


async def test_attaching_again_while_in_line_leaves_one_job(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id)
    (older,) = await claimed(store)
    await store.attach_files(PROJECT, store_id, [new_file(file_id)], at=NOON)
    assert not await store.finish_ingest("w", older.generation, chunks=0, usage_bytes=0)
    (newer,) = await claimed(store)
    assert newer.generation != older.generation
    assert await store.finish_ingest("w", newer.generation, chunks=0, usage_bytes=0)


async def test_what_was_indexed_halfway_leaves_with_the_sweep(store: Store) -> None:
    again, cancelled = await added_files(store, 2)
    store_id = await added_store(store, again)
    batch = await _batch(store, store_id, cancelled)
    jobs = await claimed(store)
    for job in jobs:
        await store.put_chunks("w", job.generation, [chunk(0), chunk(1), chunk(2)])
    await store.attach_files(PROJECT, store_id, [new_file(again)], at=NOON)
    await store.cancel_batch(PROJECT, store_id, batch.id)
    await pruned(store)
    assert [await store.index_rows(job.generation, None) for job in jobs] == [[], []]


async def test_racing_attaches_of_one_file_leave_one_row_and_one_job(store: Store) -> None:
    store_id, file_id = await added_store(store), await added_file(store)
    await asyncio.gather(
        *(store.attach_files(PROJECT, store_id, [new_file(file_id)], at=NOON) for _ in range(20)),
    )
    assert (await stored(store, store_id)).store.file_counts == FileCounts(in_progress=1, total=1)
    assert len(await claimed(store)) == 1


async def test_a_file_named_twice_is_attached_as_it_was_named_last(store: Store) -> None:
    store_id, file_id = await added_store(store), await added_file(store)
    files = [new_file(file_id, n=1), new_file(file_id, n=2)]
    made = await store.attach_files(PROJECT, store_id, files, at=NOON, batch=new_batch(store_id))
    assert [one.attributes for one in made] == [{"n": 2}]


async def test_pages_of_files_go_both_ways_and_by_status(store: Store) -> None:
    file_ids = await added_files(store, 6)
    store_id = await added_store(store, *file_ids)
    jobs = await claimed(store)
    for job in jobs[::2]:
        await store.finish_ingest("w", job.generation, chunks=0, usage_bytes=0)
    page = await store_files(store, store_id, PageQuery(limit=2, descending=True, after=file_ids[4]))
    assert (list(page.ids), page.has_more) == ([file_ids[3], file_ids[2]], True)
    page = await store_files(store, store_id, PageQuery(limit=2, descending=False, before=file_ids[5]))
    assert (list(page.ids), page.has_more) == (file_ids[3:5], True)
    done = await store_files(store, store_id, status="completed")
    assert list(done.ids) == file_ids[::2]
    after = await store_files(store, store_id, replace(ALL, after=file_ids[2]), status="completed")
    assert list(after.ids) == [file_ids[4]]
    assert (await refusal(Missing, store_files(store, store_id, replace(ALL, after="file-x")))).kind == "file"


async def test_attributes_are_replaced_whole(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id)
    await indexed(store, "a")
    before = await _head(store, store_id)
    labelled = await store.set_attributes(PROJECT, store_id, file_id, {"price": 2.0, "n": 2})
    assert labelled == await attached(store, store_id, file_id)
    after = await _head(store, store_id)
    assert after.version > before.version
    assert [type(value) for value in after.files[0].attributes.values()] == [float, int]
    assert (await refusal(Missing, store.set_attributes(PROJECT, store_id, "file-x", {}))).kind == "file"
    assert (await refusal(Missing, store.set_attributes(OTHER, store_id, file_id, {}))).kind == "vector store"


async def test_a_detached_file_is_found_no_more_and_its_chunks_leave_with_the_sweep(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id)
    (job,) = await indexed(store, "a", "b", "c")
    version = await store.index_version(store_id)
    assert not await store.detach_file(OTHER, store_id, file_id)
    assert await store.detach_file(PROJECT, store_id, file_id)
    assert not await store.detach_file(PROJECT, store_id, file_id)
    head = await _head(store, store_id)
    assert (head.version != version, list(head.files)) == (True, [])
    await pruned(store)
    assert await store.index_rows(job.generation, None) == []


async def test_a_file_leaves_every_store_at_its_end(store: Store) -> None:
    gone, kept = await added_files(store, 2)
    store_ids = [await added_store(store, gone, kept) for _ in range(3)]
    await indexed(store, "a")
    assert await store.delete_file(PROJECT, gone)
    for store_id in store_ids:
        assert [one.file_id for one in (await _head(store, store_id)).files] == [kept]
        assert (await stored(store, store_id)).store.file_counts.total == 1


# --- batches


async def _batch(store: Store, store_id: str, *file_ids: str) -> VectorStoreFileBatch:
    made = new_batch(store_id)
    files = [new_file(file_id) for file_id in file_ids]
    await store.attach_files(PROJECT, store_id, files, at=NOON, batch=made)
    return made


async def _found(store: Store, batch: VectorStoreFileBatch) -> VectorStoreFileBatch:
    found = await store.batch(PROJECT, batch.vector_store_id, batch.id)
    assert found is not None
    return found


async def test_a_batch_counts_its_own_files_only(store: Store) -> None:
    file_ids = await added_files(store, 4)
    store_id = await added_store(store, file_ids[0])
    batch = await _batch(store, store_id, *file_ids[1:])
    found = await _found(store, batch)
    assert (found.status, found.file_counts) == ("in_progress", FileCounts(in_progress=3, total=3))
    assert list((await store_files(store, store_id, batch_id=batch.id)).ids) == file_ids[1:]
    for job in await claimed(store):
        if job.stored.file.id == file_ids[1]:
            await store.fail_ingest("w", job.generation, "unsupported_file", "No.")
        else:
            await store.finish_ingest("w", job.generation, chunks=0, usage_bytes=0)
    found = await _found(store, batch)
    assert (found.status, found.file_counts) == ("completed", FileCounts(completed=2, failed=1, total=3))
    failed = await store_files(store, store_id, batch_id=batch.id, status="failed")
    assert list(failed.ids) == [file_ids[1]]
    query = PageQuery(limit=1, descending=True, after=file_ids[3])
    page = await store_files(store, store_id, query, batch_id=batch.id)
    assert (list(page.ids), page.has_more) == ([file_ids[2]], True)
    outside = store_files(store, store_id, replace(ALL, after=file_ids[0]), batch_id=batch.id)
    assert (await refusal(Missing, outside)).id == file_ids[0]


async def test_a_batch_of_which_no_file_could_be_indexed_has_failed(store: Store) -> None:
    store_id = await added_store(store)
    batch = await _batch(store, store_id, await added_file(store))
    (job,) = await claimed(store)
    await store.fail_ingest("w", job.generation, "invalid_file", "Empty.")
    assert (await _found(store, batch)).status == "failed"


async def test_cancelling_a_batch_leaves_what_is_indexed(store: Store) -> None:
    file_ids = await added_files(store, 3)
    store_id = await added_store(store)
    batch = await _batch(store, store_id, *file_ids)
    first, second = await claimed(store, limit=2)
    await store.finish_ingest("w", first.generation, chunks=0, usage_bytes=0)
    cancelled = await store.cancel_batch(PROJECT, store_id, batch.id)
    assert cancelled is not None
    assert (cancelled.status, cancelled.file_counts) == ("cancelled", FileCounts(completed=1, cancelled=2, total=3))
    assert await store.renew_ingest("w", [second.generation], NOON + 30) == []
    assert not await store.finish_ingest("w", second.generation, chunks=0, usage_bytes=0)
    assert await claimed(store, now=NOON + 60) == []
    assert (await stored(store, store_id)).store.status == "completed"
    assert await store.cancel_batch(PROJECT, store_id, batch.id) == cancelled


async def test_a_batch_that_has_ended_is_not_cancelled(store: Store) -> None:
    store_id = await added_store(store)
    batch = await _batch(store, store_id, await added_file(store))
    await indexed(store, "a")
    assert await store.cancel_batch(PROJECT, store_id, batch.id) == await _found(store, batch)
    assert (await _found(store, batch)).status == "completed"


async def test_a_batch_cancels_no_later_attachment_of_its_files(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store)
    batch = await _batch(store, store_id, file_id)
    await store.attach_files(PROJECT, store_id, [new_file(file_id)], at=NOON)
    await store.cancel_batch(PROJECT, store_id, batch.id)
    assert (await attached(store, store_id, file_id)).status == "in_progress"


async def test_a_cancelled_file_that_was_indexed_before_is_still_found(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id)
    await indexed(store, "a")
    batch = await _batch(store, store_id, file_id)
    await store.cancel_batch(PROJECT, store_id, batch.id)
    await pruned(store)
    assert await store.file_texts(store_id, file_id) == ["a"]


async def test_a_batch_of_another_store_or_project_is_none(store: Store) -> None:
    store_id, other_store = await added_store(store), await added_store(store)
    batch = await _batch(store, store_id, await added_file(store))
    assert await store.batch(PROJECT, other_store, batch.id) is None
    assert await store.batch(OTHER, store_id, batch.id) is None
    assert await store.cancel_batch(OTHER, store_id, batch.id) is None
    assert (await _found(store, batch)).status == "in_progress"
    assert list((await store_files(store, other_store, batch_id=batch.id)).ids) == []


async def test_a_file_that_was_detached_leaves_its_batches(store: Store) -> None:
    file_ids = await added_files(store, 2)
    store_id = await added_store(store)
    batch = await _batch(store, store_id, *file_ids)
    await store.detach_file(PROJECT, store_id, file_ids[0])
    await indexed(store, "a")
    found = await _found(store, batch)
    assert (found.status, found.file_counts.total) == ("completed", 1)


async def test_two_thousand_files_come_in_one_batch(store: Store) -> None:
    file_ids = await added_files(store, BATCH_FILES_MAX)
    store_id = await added_store(store)
    batch = await _batch(store, store_id, *file_ids)
    assert (await _found(store, batch)).file_counts.total == BATCH_FILES_MAX
    cancelled = await store.cancel_batch(PROJECT, store_id, batch.id)
    assert cancelled is not None
    assert cancelled.file_counts == FileCounts(cancelled=BATCH_FILES_MAX, total=BATCH_FILES_MAX)
