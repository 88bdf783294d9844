"""Vectors that PostgreSQL compares: what was written, whoever writes, and looked up only where that is good."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import numpy as np
import pytest
from numpy.typing import NDArray

from support.databases import understudy_db
from support.pgvector import open_vectors, vector_database_url
from support.postgres import database_url
from support.store import NOON, open_engine, refusal
from support.vectors import added_file, added_store, chunk, claimed, pruned
from understudy.ports import Chunk, ChunkKey, Embedding, Near, Store, StoreUnavailable
from understudy.store import hnsw, pgvector
from understudy.store.pgvector import PgVectors, open_pgvector
from understudy.store.postgres import PostgresStore, open_postgres

SPACE = Embedding(model="numbers", dimensions=16)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return vector_database_url(tmp_path)


@pytest.fixture
async def opened(url: str) -> AsyncIterator[tuple[PostgresStore, PgVectors]]:
    async with open_vectors(url) as both:
        yield both


def numbers(count: int, *, seed: int = 1, dimensions: int = 16) -> NDArray[np.float16]:
    """Vectors of length 1."""
    made = np.random.default_rng(seed).standard_normal((count, dimensions))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f2")


async def indexed(store: Store, vectors: NDArray[np.float16], space: Embedding = SPACE) -> int:
    """The generation of a file whose chunks have these vectors, in a store of its own."""
    await added_store(store, await added_file(store), embedding=space)
    (job,) = await claimed(store)
    chunks = [
        Chunk(number=number, text="a", tokens=1, terms=b"", vector=vector.tobytes())
        for number, vector in enumerate(vectors)
    ]
    assert await store.put_chunks("w", job.generation, chunks)
    assert await store.finish_ingest("w", job.generation, chunks=len(chunks), usage_bytes=1)
    return job.generation


def exact(vectors: NDArray[np.float16], asked: NDArray[np.float16], limit: int) -> list[int]:
    return np.argsort(-(vectors.astype(np.float32) @ asked.astype(np.float32)))[:limit].tolist()


def places(near: Sequence[Near]) -> list[int]:
    return [one.key.number for one in near]


# --- what is compared


async def test_every_number_that_a_vector_can_have_is_compared_as_it_is(url: str) -> None:
    halves = np.arange(1 << 16, dtype="<u2").view("<f2")
    finite = halves[np.isfinite(halves)].reshape(-1, 2048)
    async with open_vectors(url) as (store, _):
        await indexed(store, finite, Embedding(model="halves", dimensions=2048))
        connection = await asyncpg.connect(url)
        rows = await connection.fetch("SELECT CAST(compared AS real[]) FROM chunk_vectors ORDER BY number")
        await connection.close()
    assert np.array_equal(np.array([row[0] for row in rows], np.float32), finite.astype(np.float32))


async def test_the_nearest_chunks_come_with_their_cosines(opened: tuple[PostgresStore, PgVectors]) -> None:
    store, vectors = opened
    made, asked = numbers(60), numbers(1, seed=2)[0]
    generation, other = await indexed(store, made), await indexed(store, numbers(5, seed=3))
    near = await vectors.nearest(SPACE, asked.tobytes(), [generation], chunks=60, limit=10)
    assert places(near) == exact(made, asked, 10)
    assert {one.key.generation for one in near} == {generation}
    cosines = made.astype(np.float32) @ asked.astype(np.float32)
    assert [one.cosine for one in near] == pytest.approx([cosines[place] for place in places(near)], abs=1e-5)
    keys = [ChunkKey(generation, 3), ChunkKey(other, 4), ChunkKey(other, 99), ChunkKey(999, 0)]
    told = {one.key: one.cosine for one in await vectors.cosines(SPACE, asked.tobytes(), keys)}
    assert set(told) == set(keys[:2])
    assert told[keys[0]] == pytest.approx(cosines[3], abs=1e-5)


async def test_what_is_not_there_is_not_found(opened: tuple[PostgresStore, PgVectors]) -> None:
    _, vectors = opened
    asked = numbers(1)[0].tobytes()
    assert await vectors.nearest(SPACE, asked, [1], chunks=1, limit=10) == []
    assert await vectors.cosines(SPACE, asked, [ChunkKey(1, 0)]) == []
    assert vectors.has(SPACE)
    assert not vectors.has(Embedding(model="long", dimensions=16_001))


# --- making ready


async def test_vectors_that_were_there_before_are_compared_too(url: str) -> None:
    store = await open_postgres(url)
    made = numbers(3)
    generation = await indexed(store, made)
    await store.close()
    async with open_vectors(url) as (_, vectors):
        near = await vectors.nearest(SPACE, made[1].tobytes(), [generation], chunks=3, limit=1)
    assert places(near) == [1]


async def test_the_command_that_upgrades_makes_it_ready_where_the_setting_says_so(url: str, tmp_path: Path) -> None:
    await understudy_db("upgrade", url, "--data-dir", str(tmp_path))
    assert await generated(url) == []
    await understudy_db("upgrade", url, "--data-dir", str(tmp_path), "--vector-index", "pgvector")
    assert await generated(url) == ["compared"]


async def generated(url: str) -> list[str]:
    """The columns of vectors that the database makes by itself."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'chunk_vectors'::regclass AND attgenerated = 's'"
    )
    await connection.close()
    return [row[0] for row in rows]


async def test_servers_that_begin_together_make_it_ready_once(url: str) -> None:
    store = await open_postgres(url)
    try:
        for one in await asyncio.gather(*(open_pgvector(store, url) for _ in range(4))):
            await one.close()
    finally:
        await store.close()


async def test_a_process_that_compares_in_memory_writes_for_both(url: str) -> None:
    older = await open_postgres(url)
    try:
        before = await indexed(older, numbers(2))  # its statements are prepared by now
        async with open_vectors(url) as (store, vectors):
            made = numbers(4, seed=7)
            generation = await indexed(older, made)
            near = await vectors.nearest(SPACE, made[2].tobytes(), [before, generation], chunks=6, limit=1)
            assert [one.key for one in near] == [ChunkKey(generation, 2)]
            assert [row.vector for row in await store.index_rows(generation, SPACE)] == [one.tobytes() for one in made]
    finally:
        await older.close()


async def test_a_server_without_the_extension_is_one_sentence_and_goes_on_without(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    store = await open_postgres(url)
    try:
        refused = await refusal(StoreUnavailable, open_pgvector(store, url))
        assert "needs the extension `vector`, 0.7 or later" in str(refused)
        assert len(await store.index_rows(await indexed(store, numbers(2)), SPACE)) == 2
    finally:
        await store.close()


async def test_what_is_deleted_or_let_go_is_not_compared(opened: tuple[PostgresStore, PgVectors]) -> None:
    store, vectors = opened
    store_id = await added_store(store, await added_file(store), embedding=SPACE)
    (job,) = await claimed(store)
    made = numbers(4)
    chunks = [
        Chunk(number=place, text="a", tokens=1, terms=b"", vector=one.tobytes()) for place, one in enumerate(made)
    ]
    await store.put_chunks("w", job.generation, chunks)
    await store.put_chunks("w", job.generation, [chunk(1, dimensions=16)])  # written over
    await store.finish_ingest("w", job.generation, chunks=3, usage_bytes=1)
    keys = [ChunkKey(job.generation, place) for place in range(4)]
    told = {one.key.number: one.cosine for one in await vectors.cosines(SPACE, made[1].tobytes(), keys)}
    assert set(told) == {0, 1, 2}
    assert told[1] < 0.5
    other = Embedding(model="other", dimensions=8)
    anew = numbers(3, seed=4, dimensions=8)
    await store.put_vectors(job.generation, other, [(place, one.tobytes()) for place, one in enumerate(anew)])
    assert await store.switch_embedding(store_id, other)
    await pruned(store)
    assert await vectors.cosines(SPACE, made[0].tobytes(), keys) == []
    near = await vectors.nearest(other, anew[2].tobytes(), [job.generation], chunks=3, limit=1)
    assert places(near) == [2]
    await store.expire_vector_stores(NOON, limit=1)
    await store.delete_vector_store("proj_a", store_id)
    await pruned(store)
    assert await vectors.nearest(other, anew[2].tobytes(), [job.generation], chunks=3, limit=1) == []


async def test_a_copy_of_a_database_is_compared_too(url: str, tmp_path: Path) -> None:
    made = numbers(5)
    async with open_engine("sqlite", tmp_path) as store:
        generation = await indexed(store, made)
    await understudy_db("upgrade", url, "--data-dir", str(tmp_path), "--vector-index", "pgvector")
    await understudy_db("copy", "--from", f"sqlite:{tmp_path}", "--to", url, "--data-dir", str(tmp_path))
    async with open_vectors(url) as (_, vectors):
        near = await vectors.nearest(SPACE, made[3].tobytes(), [generation], chunks=5, limit=1)
    assert places(near) == [3]


# --- approximate indexes


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a hundred chunks were many."""
    monkeypatch.setattr(pgvector, "PGVECTOR_EXACT_CHUNKS", 100)
    monkeypatch.setattr(hnsw, "HNSW_BUILD_PAUSE_SECONDS", 0.0)


async def states(url: str) -> list[tuple[bool, str | None]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT i.indisvalid, obj_description(c.oid) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid "
        "WHERE c.relname LIKE 'chunk_vectors_near%' AND c.relnamespace = to_regnamespace(current_schema())"
    )
    await connection.close()
    return [(row[0], row[1]) for row in rows]


async def plan(url: str, sql: str, asked: NDArray[np.float16], generations: list[int]) -> str:
    """How PostgreSQL goes about a query for the nearest."""
    vector = pgvector._written(asked.tobytes())
    values = [f"'{vector}'", f"'{{{generations[0]}}}'", *([f"'{vector}'"] * (sql.count("?") - 3)), "10"]
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute(hnsw.BY_INDEX)
        rows = await connection.fetch("EXPLAIN " + sql.replace("?", "{}").format(*values))
    await connection.close()
    return "\n".join(row[0] for row in rows)


async def test_a_large_store_gets_an_index_beside_its_searches(
    opened: tuple[PostgresStore, PgVectors], url: str, small: None
) -> None:
    store, vectors = opened
    made, asked = numbers(400), numbers(1, seed=2)[0]
    generation = await indexed(store, made)

    async def nearest(chunks: int = 400) -> list[int]:
        return places(await vectors.nearest(SPACE, asked.tobytes(), [generation], chunks=chunks, limit=10))

    assert await nearest(chunks=99) == exact(made, asked, 10)
    assert await states(url) == []
    assert await nearest() == exact(made, asked, 10)
    assert vectors._hnsw is not None
    (task,) = vectors._hnsw._tasks.values()
    await asyncio.wait_for(task, 20)
    assert await states(url) == [(True, "1.000")]
    (space,) = vectors._spaces.values()
    assert await vectors._hnsw.is_good_for(space, 400)
    assert not await vectors._hnsw.is_good_for(space, 99)  # less than a fourth of what is in it
    assert "chunk_vectors_near" in await plan(url, space.sql(pgvector._BY_INDEX), asked, [generation])
    assert "chunk_vectors_near" not in await plan(url, space.sql(pgvector._EXACT), asked, [generation])
    assert await nearest() == exact(made, asked, 10)


async def test_an_index_that_misses_too_much_is_not_used(
    opened: tuple[PostgresStore, PgVectors], url: str, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vectors = opened
    generation = await indexed(store, numbers(150))
    monkeypatch.setattr(hnsw, "HNSW_RECALL_MIN", 1.1)
    asked = numbers(1, seed=2)[0].tobytes()
    await vectors.nearest(SPACE, asked, [generation], chunks=150, limit=10)
    assert vectors._hnsw is not None
    (task,) = vectors._hnsw._tasks.values()
    await asyncio.wait_for(task, 20)
    (space,) = vectors._spaces.values()
    assert not await vectors._hnsw.is_good_for(space, 150)
    assert vectors._hnsw._tasks == {space: task}  # and is not made again


async def test_an_index_whose_making_was_broken_off_is_made_anew(
    opened: tuple[PostgresStore, PgVectors], url: str, small: None
) -> None:
    store, vectors = opened
    generation = await indexed(store, numbers(150))
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE INDEX chunk_vectors_near_1 ON chunk_vectors (number)")
    await connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'chunk_vectors_near_1'::regclass"
    )
    await connection.close()
    asked = numbers(1, seed=2)[0].tobytes()
    await vectors.nearest(SPACE, asked, [generation], chunks=150, limit=10)
    assert vectors._hnsw is not None
    (task,) = vectors._hnsw._tasks.values()
    await asyncio.wait_for(task, 20)
    assert await states(url) == [(True, "1.000")]


@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_a_server_that_stops_meanwhile_leaves_the_index_to_the_next(
    url: str, small: None, seconds: float
) -> None:
    made, asked = numbers(400), numbers(1, seed=2)[0].tobytes()
    async with open_vectors(url) as (store, vectors):
        generation = await indexed(store, made)
        await vectors.nearest(SPACE, asked, [generation], chunks=400, limit=10)
        await asyncio.sleep(seconds)  # somewhere in the making of it
    async with open_vectors(url) as (_, vectors):
        await vectors.nearest(SPACE, asked, [generation], chunks=400, limit=10)
        assert vectors._hnsw is not None
        for task in vectors._hnsw._tasks.values():
            await asyncio.wait_for(task, 20)
    assert [valid for valid, _ in await states(url)] == [True]


async def test_too_few_from_an_index_are_made_up_for_by_comparing_all(
    opened: tuple[PostgresStore, PgVectors], url: str, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vectors = opened
    made, asked = numbers(400), numbers(1, seed=2)[0]
    generation = await indexed(store, made)
    ask = vectors.nearest(SPACE, asked.tobytes(), [generation], chunks=400, limit=50)
    await ask
    assert vectors._hnsw is not None
    (task,) = vectors._hnsw._tasks.values()
    await asyncio.wait_for(task, 20)
    short = hnsw.PLAIN + "; SET LOCAL enable_sort = off; SET LOCAL hnsw.ef_search = 5"
    monkeypatch.setattr(pgvector, "BY_INDEX", short + "; SET LOCAL hnsw.iterative_scan = off")
    near = await vectors.nearest(SPACE, asked.tobytes(), [generation], chunks=400, limit=50)
    assert places(near) == exact(made, asked, 50)
