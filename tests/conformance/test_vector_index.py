"""What every store does with files that are to be indexed, and with the chunks of those that are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.store import NOON, PROJECT, VECTOR_ENGINES, open_engine
from support.vectors import (
    OTHER_SPACE,
    SPACE,
    added_file,
    added_files,
    added_store,
    attached,
    chunk,
    claimed,
    indexed,
    new_file,
    pruned,
    stored,
)
from understudy.core.limits import INGEST_ATTEMPTS_MAX
from understudy.ports import ChunkKey, Embedding, Store


@pytest.fixture(params=VECTOR_ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


# --- claims


async def test_the_oldest_files_are_claimed_first_and_once(store: Store) -> None:
    file_ids = await added_files(store, 3)
    await added_store(store, *file_ids, embedding=SPACE)
    jobs = await claimed(store, limit=2)
    assert [job.stored.file.id for job in jobs] == file_ids[:2]
    assert [(job.attempts, job.embedding) for job in jobs] == [(1, SPACE)] * 2
    assert [job.stored.file.id for job in await claimed(store, "v")] == file_ids[2:]
    assert await claimed(store, "v") == []


async def test_two_workers_that_claim_at_once_share_no_file(store: Store) -> None:
    await added_store(store, *await added_files(store, 8))
    taken = await asyncio.gather(*(claimed(store, f"w{n}", limit=1) for n in range(12)))
    generations = [job.generation for jobs in taken for job in jobs]
    assert len(generations) == len(set(generations)) == 8


async def test_a_job_whose_lease_ran_out_is_taken_over_and_its_first_owner_is_shut_out(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id)
    (job,) = await claimed(store, "w")
    assert await store.put_chunks("w", job.generation, [chunk(0, "from w"), chunk(1)])
    assert await claimed(store, "v", now=NOON + 14) == []
    (again,) = await claimed(store, "v", now=NOON + 15)
    assert (again.generation, again.attempts) == (job.generation, 2)
    assert await store.renew_ingest("w", [job.generation], NOON + 60) == []
    assert not await store.put_chunks("w", job.generation, [chunk(0)])
    assert not await store.finish_ingest("w", job.generation, chunks=1, usage_bytes=1)
    assert not await store.fail_ingest("w", job.generation, "server_error", "No.")
    assert await store.put_chunks("v", job.generation, [chunk(0, "from v")])
    assert await store.finish_ingest("v", job.generation, chunks=1, usage_bytes=6)
    assert await store.file_texts(store_id, file_id) == ["from v"]
    assert (await attached(store, store_id, file_id)).usage_bytes == 6


async def test_a_renewed_lease_is_not_taken_over(store: Store) -> None:
    await added_store(store, await added_file(store))
    (job,) = await claimed(store)
    assert await store.renew_ingest("w", [job.generation, 999], NOON + 100) == [job.generation]
    assert await claimed(store, "v", now=NOON + 99) == []


async def test_a_file_whose_workers_were_all_lost_fails(store: Store) -> None:
    file_id, other = await added_files(store, 2)
    store_id = await added_store(store, file_id)
    for attempt in range(INGEST_ATTEMPTS_MAX):
        (job,) = await claimed(store, now=NOON + 100 * attempt)
        assert job.attempts == attempt + 1
    await added_store(store, other)
    late = NOON + 100 * INGEST_ATTEMPTS_MAX
    assert [job.stored.file.id for job in await claimed(store, now=late, limit=1)] == [other]
    found = await attached(store, store_id, file_id)
    assert found.status == "failed"
    assert found.last_error is not None
    assert found.last_error.code == "server_error"


async def test_a_job_that_is_given_back_was_not_begun(store: Store) -> None:
    await added_store(store, *await added_files(store, 2))
    jobs = await claimed(store)
    await store.release_ingest("v", [job.generation for job in jobs])
    assert await claimed(store) == []
    await store.release_ingest("w", [job.generation for job in jobs])
    assert [job.attempts for job in await claimed(store)] == [1, 1]


async def test_a_file_that_fails_says_why_and_may_be_attached_again(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id)
    (job,) = await claimed(store)
    await store.put_chunks("w", job.generation, [chunk(0)])
    assert await store.fail_ingest("w", job.generation, "invalid_file", "It is empty.")
    found = await attached(store, store_id, file_id)
    assert found.last_error is not None
    assert (found.status, found.last_error.message) == ("failed", "It is empty.")
    await pruned(store)
    assert await store.index_rows(job.generation, None) == []
    await store.attach_files(PROJECT, store_id, [new_file(file_id)], at=NOON)
    await indexed(store, "better")
    assert (await attached(store, store_id, file_id)).last_error is None
    assert await store.file_texts(store_id, file_id) == ["better"]


async def test_a_failed_new_attempt_leaves_the_older_chunks_found(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id)
    await indexed(store, "old")
    await store.attach_files(PROJECT, store_id, [new_file(file_id)], at=NOON)
    (job,) = await claimed(store)
    await store.fail_ingest("w", job.generation, "server_error", "No.")
    await pruned(store)
    assert await store.file_texts(store_id, file_id) == ["old"]


async def test_stores_know_whether_anything_is_still_to_be_indexed(store: Store) -> None:
    busy, idle = await added_store(store, await added_file(store)), await added_store(store)
    assert not await store.being_indexed([])
    assert not await store.being_indexed([idle])
    assert await store.being_indexed([idle, busy])
    await indexed(store, "a")
    assert not await store.being_indexed([idle, busy])


# --- the index


async def test_a_finished_file_is_in_the_index_with_its_chunks(store: Store) -> None:
    file_id = await added_file(store, "Übung.md")
    store_id = await added_store(store, embedding=SPACE)
    await store.attach_files(PROJECT, store_id, [new_file(file_id, n=1)], at=NOON)
    before = await store.index_version(store_id)
    (job,) = await indexed(store, "one", "two")
    head = await store.index_head(store_id)
    assert head is not None
    assert (head.version > (before or 0), head.embedding) == (True, SPACE)
    (file,) = head.files
    assert (file.file_id, file.file_name, file.generation) == (file_id, "Übung.md", job.generation)
    assert file.attributes == {"n": 1}
    rows = await store.index_rows(job.generation, SPACE)
    assert [(row.number, row.terms, row.vector) for row in rows] == [
        (0, b"t0", bytes([0, 0] * 4)),
        (1, b"t1", bytes([1, 0] * 4)),
    ]
    assert [row.vector for row in await store.index_rows(job.generation, None)] == [None, None]
    assert [row.vector for row in await store.index_rows(job.generation, OTHER_SPACE)] == [None, None]


async def test_texts_come_in_the_order_asked_for_with_none_for_what_is_gone(store: Store) -> None:
    store_id = await added_store(store, await added_file(store))
    (job,) = await claimed(store)
    await store.put_chunks("w", job.generation, [chunk(0, "a"), chunk(1, "b")])
    keys = [ChunkKey(job.generation, 1), ChunkKey(999, 0), ChunkKey(job.generation, 0)]
    assert await store.chunk_texts(keys) == [("b", None), None, ("a", None)]
    assert await store.chunk_texts([]) == []
    assert await store.index_head("vs_x") is None
    assert await store.index_version("vs_x") is None
    assert (await stored(store, store_id)).store.usage_bytes == 0


async def test_a_long_file_comes_back_whole(store: Store) -> None:
    file_id = await added_file(store)
    store_id = await added_store(store, file_id, embedding=SPACE)
    (job,) = await claimed(store)
    chunks = [chunk(number, f"p{number}") for number in range(600)]
    assert await store.put_chunks("w", job.generation, chunks)
    assert await store.put_chunks("w", job.generation, chunks[300:])
    await store.finish_ingest("w", job.generation, chunks=590, usage_bytes=1)
    assert [row.number for row in await store.index_rows(job.generation, SPACE)] == list(range(590))
    assert await store.file_texts(store_id, file_id) == [f"p{number}" for number in range(590)]


# --- re-embedding


async def test_a_store_is_embedded_anew_beside_the_old_and_then_switched(store: Store) -> None:
    store_id = await added_store(store, *await added_files(store, 2), embedding=SPACE)
    first, second = await indexed(store, "a", "b")
    assert not await store.switch_embedding(store_id, OTHER_SPACE)
    missing = await store.missing_vectors(store_id, OTHER_SPACE, limit=3)
    assert [(key.generation, key.number, text) for key, text in missing] == [
        (first.generation, 0, "a"),
        (first.generation, 1, "b"),
        (second.generation, 0, "a"),
    ]
    rest = await store.missing_vectors(store_id, OTHER_SPACE, limit=9, after=missing[-1][0])
    assert [key for key, _ in rest] == [ChunkKey(second.generation, 1)]
    for job in (first, second):
        await store.put_vectors(job.generation, OTHER_SPACE, [(0, b"0000"), (1, b"1111"), (2, b"gone")])
    assert [row.vector for row in await store.index_rows(first.generation, SPACE)] != [None, None]
    version = await store.index_version(store_id)
    assert await store.switch_embedding(store_id, OTHER_SPACE)
    head = await store.index_head(store_id)
    assert head is not None
    assert (head.version > (version or 0), head.embedding) == (True, OTHER_SPACE)
    await pruned(store)
    assert [row.vector for row in await store.index_rows(first.generation, OTHER_SPACE)] == [b"0000", b"1111"]
    assert [row.vector for row in await store.index_rows(first.generation, SPACE)] == [None, None]


async def test_a_space_that_is_come_back_to_keeps_its_vectors(store: Store) -> None:
    store_id = await added_store(store, await added_file(store), embedding=SPACE)
    (job,) = await indexed(store, "a")
    await store.put_vectors(job.generation, OTHER_SPACE, [(0, b"0000")])
    assert await store.switch_embedding(store_id, OTHER_SPACE)
    assert await store.switch_embedding(store_id, SPACE)
    await pruned(store)
    assert [row.vector for row in await store.index_rows(job.generation, SPACE)] == [bytes(8)]
    assert [row.vector for row in await store.index_rows(job.generation, OTHER_SPACE)] == [None]


async def test_a_file_that_was_embedded_for_the_space_just_left_is_done_again(store: Store) -> None:
    store_id = await added_store(store, await added_file(store), embedding=SPACE)
    (job,) = await claimed(store)
    await store.put_chunks("w", job.generation, [chunk(0)])
    assert await store.switch_embedding(store_id, OTHER_SPACE)
    assert not await store.finish_ingest("w", job.generation, chunks=1, usage_bytes=1)
    (again,) = await claimed(store, "v")
    assert (again.embedding, again.attempts) == (OTHER_SPACE, 1)
    assert await store.put_chunks("v", again.generation, [chunk(0, dimensions=2)])
    assert await store.finish_ingest("v", again.generation, chunks=1, usage_bytes=1)


async def test_a_store_without_vectors_gets_them(store: Store) -> None:
    store_id = await added_store(store, await added_file(store))
    (job,) = await indexed(store, "a")
    await store.put_vectors(job.generation, SPACE, [(0, bytes(8))])
    assert await store.switch_embedding(store_id, SPACE)
    assert (await stored(store, store_id)).embedding == SPACE
    assert not await store.switch_embedding("vs_x", SPACE)


async def test_stores_of_another_space_are_known_with_what_they_lack(store: Store) -> None:
    assert await store.stores_outside(SPACE) == []
    here, there = [await added_store(store, await added_file(store), embedding=space) for space in (SPACE, OTHER_SPACE)]
    bare = await added_store(store)
    for job in await indexed(store, "a", "b"):
        await store.put_vectors(job.generation, SPACE, [(0, bytes(8))])
    assert await store.stores_outside(SPACE) == [there, bare]
    assert await store.stores_outside(Embedding(model="new", dimensions=3)) == [here, there, bare]
    counts = [await store.missing_vectors_count(one, SPACE) for one in (here, there, bare, "vs_x")]
    assert counts == [0, 1, 0, 0]
    assert await store.missing_vectors_count(here, Embedding(model="new", dimensions=3)) == 2
