"""What every store does with vector stores: counts, status, use and expiry."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from support.store import ENGINES, NOON, OTHER, PROJECT, open_engine, refusal
from support.vectors import (
    ALL,
    SPACE,
    added_file,
    added_files,
    added_store,
    attached,
    claimed,
    indexed,
    new_file,
    new_store,
    pruned,
    store_files,
    stored,
)
from understudy.core.vector_stores import DAY_SECONDS
from understudy.ports import Missing, PageQuery, Store, VectorStoreExpired, VectorStoreFull
from understudy.store import vector_files
from understudy.wire.vector_stores import FileCounts, StoreExpiresAfter, VectorStore

WEEK = StoreExpiresAfter(anchor="last_active_at", days=7)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def test_an_empty_store_is_completed_and_comes_back_as_it_was_given(store: Store) -> None:
    new = new_store(name="Notes", metadata={"a": "b"}, embedding=SPACE)
    assert await store.add_vector_store(PROJECT, new) == new.store
    found = await stored(store, new.store.id)
    assert found.store == new.store
    assert found.embedding == SPACE
    assert (found.store.status, found.store.file_counts) == ("completed", FileCounts())


async def test_a_store_of_another_project_is_none(store: Store) -> None:
    store_id = await added_store(store)
    assert await store.vector_store(OTHER, store_id) is None
    assert not await store.delete_vector_store(OTHER, store_id)
    assert (await refusal(Missing, store.update_vector_store(OTHER, store_id, lambda one: one))).kind == "vector store"
    file_id = await added_file(store, project=OTHER)
    assert (await refusal(Missing, store.attach_files(OTHER, store_id, [new_file(file_id)], at=NOON))).id == store_id
    assert (await store.vector_stores_page(OTHER, ALL)).ids == []


async def test_counts_usage_and_status_are_those_of_the_files(store: Store) -> None:
    store_id = await added_store(store, *await added_files(store, 3))
    assert (await stored(store, store_id)).store.status == "in_progress"
    jobs = await claimed(store, limit=2)
    await store.finish_ingest("w", jobs[0].generation, chunks=0, usage_bytes=7)
    await store.fail_ingest("w", jobs[1].generation, "invalid_file", "Empty.")
    found = (await stored(store, store_id)).store
    assert found.file_counts == FileCounts(in_progress=1, completed=1, failed=1, total=3)
    assert (found.status, found.usage_bytes) == ("in_progress", 7)
    await indexed(store, "a")
    found = (await stored(store, store_id)).store
    assert (found.status, found.usage_bytes) == ("completed", 17)


async def test_a_page_of_stores_shows_each_with_its_own_counts(store: Store) -> None:
    file_ids = await added_files(store, 2)
    store_ids = [await added_store(store, *file_ids[:count]) for count in range(3)]
    rows = await store.vector_stores_page(PROJECT, PageQuery(limit=2, descending=True))
    shown = [msgspec.json.decode(body, type=VectorStore) for body in rows.bodies]
    assert rows.has_more
    assert [(one.id, one.file_counts.total) for one in shown] == [(store_ids[2], 2), (store_ids[1], 1)]
    rest = await store.vector_stores_page(PROJECT, PageQuery(limit=2, descending=True, after=store_ids[1]))
    assert list(rest.ids) == [store_ids[0]]
    assert (await refusal(Missing, store.vector_stores_page(PROJECT, replace(ALL, after="vs_x")))).id == "vs_x"


async def test_a_store_with_an_unknown_file_is_not_made(store: Store) -> None:
    foreign = await added_file(store, project=OTHER)
    new = new_store(await added_file(store), foreign)
    missing = await refusal(Missing, store.add_vector_store(PROJECT, new))
    assert (missing.kind, missing.id) == ("file", foreign)
    assert await store.vector_store(PROJECT, new.store.id) is None
    assert await claimed(store) == []


async def test_a_store_holds_only_so_many_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "FILES_PER_STORE_MAX", 2)
    file_ids = await added_files(store, 3)
    store_id = await added_store(store, *file_ids[:2])
    await refusal(VectorStoreFull, store.attach_files(PROJECT, store_id, [new_file(file_ids[2])], at=NOON))
    assert (await stored(store, store_id)).store.file_counts.total == 2


async def test_two_changes_of_a_store_at_once_are_both_applied(store: Store) -> None:
    store_id = await added_store(store)

    async def label(name: str) -> None:
        await store.update_vector_store(
            PROJECT, store_id, lambda old: replace(old, metadata=old.metadata | {name: "x"})
        )

    await asyncio.gather(*(label(str(n)) for n in range(10)))
    assert set((await stored(store, store_id)).store.metadata) == {str(n) for n in range(10)}


async def test_a_deleted_store_is_gone_at_once_and_its_files_leave_with_the_sweep(store: Store) -> None:
    file_ids = await added_files(store, 5)
    store_id = await added_store(store, *file_ids)
    job = (await indexed(store, "a", "b", "c"))[0]
    assert await store.delete_vector_store(PROJECT, store_id)
    assert await store.vector_store(PROJECT, store_id) is None
    assert await store.store_file(PROJECT, store_id, file_ids[0]) is None
    assert await store.index_head(store_id) is None
    assert not await store.delete_vector_store(PROJECT, store_id)
    assert len(await store.index_rows(job.generation, None)) == 3
    await pruned(store)
    assert await store.index_rows(job.generation, None) == []
    assert not await store.prune_index()


async def test_files_of_a_deleted_store_are_not_claimed_and_its_jobs_end(store: Store) -> None:
    store_id = await added_store(store, *await added_files(store, 2))
    job = (await claimed(store, limit=1))[0]
    await store.delete_vector_store(PROJECT, store_id)
    assert await claimed(store) == []
    assert await store.renew_ingest("w", [job.generation], NOON + 30) == []
    assert not await store.put_chunks("w", job.generation, [])
    assert not await store.finish_ingest("w", job.generation, chunks=0, usage_bytes=0)
    await pruned(store)
    assert not await store.fail_ingest("w", job.generation, "server_error", "No.")


# --- use and expiry


async def test_use_puts_off_the_expiry(store: Store) -> None:
    store_id = await added_store(store, expires_after=WEEK)
    assert (await stored(store, store_id)).store.expires_at == NOON + 7 * DAY_SECONDS
    await store.use_vector_stores([store_id, "vs_x"], NOON + 100)
    await store.use_vector_stores([store_id], NOON + 50)
    found = (await stored(store, store_id)).store
    assert (found.last_active_at, found.expires_at) == (NOON + 100, NOON + 100 + 7 * DAY_SECONDS)
    await store.attach_files(PROJECT, store_id, [new_file(await added_file(store))], at=NOON + 200)
    assert (await stored(store, store_id)).store.last_active_at == NOON + 200


async def test_an_expired_store_can_be_read_and_deleted_but_not_used(store: Store) -> None:
    first, second = await added_files(store, 2)
    store_id = await added_store(store, first, second, expires_after=WEEK)
    lasting = await added_store(store, first)
    jobs = await claimed(store, limit=1)
    await store.put_chunks("w", jobs[0].generation, [])
    await store.finish_ingest("w", jobs[0].generation, chunks=0, usage_bytes=5)
    version = await store.index_version(store_id)
    assert await store.expire_vector_stores(NOON + 7 * DAY_SECONDS - 1, limit=10) == 0
    assert await store.expire_vector_stores(NOON + 7 * DAY_SECONDS, limit=10) == 1
    assert await store.expire_vector_stores(NOON + 7 * DAY_SECONDS, limit=10) == 0
    assert (await stored(store, store_id)).store.status == "expired"
    head = await store.index_head(store_id)
    assert head is not None
    assert (head.version != version, list(head.files)) == (True, [])
    assert [job.store_id for job in await claimed(store)] == [lasting]
    attach = store.attach_files(PROJECT, store_id, [new_file(first)], at=NOON)
    assert (await refusal(VectorStoreExpired, attach)).store_id == store_id
    await store.use_vector_stores([store_id], NOON + 8 * DAY_SECONDS)
    assert (await stored(store, store_id)).store.last_active_at == NOON
    assert await store.delete_vector_store(PROJECT, store_id)


async def test_the_files_of_an_expired_store_stay_in_its_list_without_their_chunks(store: Store) -> None:
    file_ids = await added_files(store, 3)
    store_id = await added_store(store, *file_ids, expires_after=WEEK)
    job = (await claimed(store, limit=1))[0]
    assert await store.put_chunks("w", job.generation, [])
    assert await store.finish_ingest("w", job.generation, chunks=0, usage_bytes=5)
    await store.expire_vector_stores(NOON + 7 * DAY_SECONDS, limit=10)
    await pruned(store)
    found = (await stored(store, store_id)).store
    assert (found.status, found.usage_bytes) == ("expired", 0)
    assert found.file_counts == FileCounts(completed=1, cancelled=2, total=3)
    assert list((await store_files(store, store_id)).ids) == file_ids
    assert (await attached(store, store_id, file_ids[0])).usage_bytes == 0
    assert await store.file_texts(store_id, file_ids[0]) == []


async def test_an_expired_store_that_is_deleted_meanwhile_leaves_nothing(store: Store) -> None:
    store_id = await added_store(store, *await added_files(store, 5), expires_after=WEEK)
    await store.expire_vector_stores(NOON + 7 * DAY_SECONDS, limit=10)
    await store.prune_index(files=2)
    await store.delete_vector_store(PROJECT, store_id)
    await pruned(store)
    assert not await store.prune_index()
    assert await store.store_file(PROJECT, store_id, "file-x") is None
