"""pgvector's approximate indexes: one for each space that large stores are searched in, made when it is first of use.

How much such an index misses depends on the vectors, so it is used only if it finds what is nearest to some others;
and only for what is a good part of all that is in it: of narrow choices it loses much.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import structlog
from msgspec import Struct

from understudy.core.limits import (
    HNSW_BUILD_MEMORY,
    HNSW_BUILD_PAUSE_SECONDS,
    HNSW_DIMENSIONS_MAX,
    HNSW_LINKS,
    HNSW_LOOKED_AT,
    HNSW_LOOKED_AT_MAKING,
    HNSW_PROOFS,
    HNSW_RECALL_MIN,
    HNSW_SHARE,
    POSTGRES_SECONDS_MAX,
)
from understudy.ports import Embedding
from understudy.store.operations import Op, Query
from understudy.store.postgres import PostgresStore

__all__ = ["BY_INDEX", "FAILURES", "PLAIN", "Hnsw", "Space", "apart"]

log = structlog.get_logger(__name__)

FAILURES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)

# Settings of one transaction. To compile such a query takes longer than to do it, and a plan for any list of files is
# good for none.
PLAIN: Final = "SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_custom_plan"
BY_INDEX: Final = (
    f"{PLAIN}; SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; "
    f"SET LOCAL hnsw.ef_search = {HNSW_LOOKED_AT}; SET LOCAL hnsw.iterative_scan = strict_order"
)

_STATE: Final = (
    "SELECT i.indisvalid, c.reltuples, CAST(obj_description(c.oid, 'pg_class') AS real) FROM pg_class c "
    "JOIN pg_index i ON i.indexrelid = c.oid WHERE c.oid = to_regclass('{index}')"
)
_TAKE: Final = "SELECT pg_try_advisory_lock(548271161, $1)"
_DROP: Final = "DROP INDEX CONCURRENTLY IF EXISTS {index}"
_CREATE: Final = (
    "CREATE INDEX CONCURRENTLY {index} ON chunk_vectors USING hnsw ({one} {schema}.halfvec_ip_ops) "
    f"WITH (m = {HNSW_LINKS}, ef_construction = {HNSW_LOOKED_AT_MAKING}) WHERE {{inside}}"
)
# What lies between two vectors: it is no easier to find what is near it than what is near a query, as it would be with
# vectors that the index has.
_BETWEEN: Final = (
    "SELECT CAST(compared OPERATOR({schema}.+) lead(compared) OVER () AS text) "  # noqa: S608 - constants
    f"FROM (SELECT compared FROM chunk_vectors WHERE {{inside}} ORDER BY random() LIMIT {HNSW_PROOFS + 1}) AS chosen"
)
_NEAREST: Final = (
    "SELECT -(compared OPERATOR({schema}.<#>) CAST($1 AS {schema}.halfvec)) AS cosine FROM chunk_vectors "
    "WHERE {inside} ORDER BY cosine DESC LIMIT 10"
)
_NEAREST_BY_INDEX: Final = (
    "SELECT -({one} OPERATOR({schema}.<#>) CAST($1 AS {schema}.halfvec({dimensions}))) FROM chunk_vectors "
    "WHERE {inside} ORDER BY {one} OPERATOR({schema}.<#>) CAST($1 AS {schema}.halfvec({dimensions})) LIMIT 10"
)
_ROUNDED: Final = 1e-6


class Space(Struct, frozen=True):
    """A space of vectors in the database: its number, and the schema of pgvector's types, quoted."""

    number: int
    embedding: Embedding
    schema: str

    def sql(self, template: str) -> str:
        schema, dimensions = self.schema, self.embedding.dimensions
        return template.format(
            schema=schema,
            dimensions=dimensions,
            index=f"chunk_vectors_near_{self.number}",
            # Of other dimensions there are none; but if there were, each comparison with one would fail.
            inside=f"space = {self.number} AND {schema}.vector_dims(compared) = {dimensions}",
            one=f"(compared::{schema}.halfvec({dimensions}))",
        )


class _State(Struct, frozen=True):
    """`recall` is the share of the nearest that it finds; `None`: nobody has tried."""

    valid: bool
    rows: float
    recall: float | None


class Hnsw:
    """The indexes of one database. Several processes may each have one of these."""

    def __init__(self, store: PostgresStore, url: str) -> None:
        self._store = store
        self._url = url
        self._tasks: dict[Space, asyncio.Task[None]] = {}
        self._again_at: dict[Space, float] = {}

    async def is_good_for(self, space: Space, chunks: int) -> bool:
        """Whether so many chunks of a space may be looked up in its index. Sees to it that there will be one."""
        if space.embedding.dimensions > HNSW_DIMENSIONS_MAX:
            return False
        state = await self._store.read_under(PLAIN, _state(space))
        if state is not None and state.valid and state.recall is not None:
            return state.recall >= HNSW_RECALL_MIN and chunks * HNSW_SHARE >= state.rows
        now = asyncio.get_running_loop().time()
        busy = space in self._tasks and not self._tasks[space].done()
        if not busy and now >= self._again_at.get(space, now):
            self._again_at[space] = now + HNSW_BUILD_PAUSE_SECONDS
            self._tasks[space] = asyncio.create_task(self._make(space))
        return False

    async def close(self) -> None:
        """What is being made here is made anew by whoever searches next."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _make(self, space: Space) -> None:
        """Unless another process does so just now. What was left of a broken attempt goes first."""
        model, dimensions = space.embedding.model, space.embedding.dimensions
        try:
            async with apart(self._url) as connection:
                if not await connection.fetchval(_TAKE, space.number):
                    return
                found = await connection.fetchrow(space.sql(_STATE))
                if found is None or not found[0]:
                    log.info("vector_index_begun", model=model, dimensions=dimensions)
                    await connection.execute(f"SET maintenance_work_mem = '{HNSW_BUILD_MEMORY}'")
                    await connection.execute(space.sql(_DROP))
                    await connection.execute(space.sql(_CREATE))
                recall = await _recall(connection, space)
                await connection.execute(space.sql("COMMENT ON INDEX {index} IS ") + f"'{recall:.3f}'")
                log.info(
                    "vector_index_made",
                    model=model,
                    dimensions=dimensions,
                    recall=recall,
                    used=recall >= HNSW_RECALL_MIN,
                )
        except FAILURES as error:
            log.warning("vector_index_not_made", model=model, dimensions=dimensions, reason=str(error))


def _state(space: Space) -> Op[_State | None]:
    rows = yield Query(space.sql(_STATE))
    return _State(*rows[0]) if rows else None


async def _recall(connection: asyncpg.Connection, space: Space) -> float:
    """The share of the ten nearest that the index finds, by some vectors between its own."""
    hits = wanted = 0
    for (vector,) in await connection.fetch(space.sql(_BETWEEN)):
        if vector is None:
            continue  # behind the last there is none
        exact = await _cosines(connection, PLAIN, space.sql(_NEAREST), vector)
        by_index = await _cosines(connection, BY_INDEX, space.sql(_NEAREST_BY_INDEX), vector)
        wanted += len(exact)
        hits += sum(cosine >= exact[-1] - _ROUNDED for cosine in by_index)
    return hits / wanted if wanted else 1.0


async def _cosines(connection: asyncpg.Connection, settings: str, sql: str, vector: str) -> list[float]:
    async with connection.transaction():
        await connection.execute(settings)
        return [cosine for (cosine,) in await connection.fetch(sql, vector)]


@asynccontextmanager
async def apart(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for what takes minutes. Raises one of `FAILURES`."""
    connection = await asyncpg.connect(url, timeout=POSTGRES_SECONDS_MAX)
    try:
        yield connection
    finally:
        with contextlib.suppress(*FAILURES):
            await connection.close(timeout=POSTGRES_SECONDS_MAX)
