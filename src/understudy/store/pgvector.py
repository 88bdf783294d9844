"""pgvector: vectors that PostgreSQL compares, so that no process need hold them all.

`chunk_vectors.compared` is the vector once more, as pgvector's `halfvec`: the same 16-bit numbers. The database makes
it from `vector` in whatever transaction writes that, whoever does, so the two cannot differ. It is no numbered step of
the schema: a database has it from the moment on in which somebody first asks for it, and nobody else notices.

Up to `PGVECTOR_EXACT_CHUNKS` every chunk is compared. More are looked up in an index (`hnsw.py`) where that is good
enough; where it comes short, every chunk is compared.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg
import numpy as np
from msgspec import Struct

from understudy.core.limits import PGVECTOR_DIMENSIONS_MAX, PGVECTOR_EXACT_CHUNKS
from understudy.ports import ChunkKey, Embedding, Near, StoreUnavailable, VectorIndex
from understudy.store.hnsw import BY_INDEX, FAILURES, PLAIN, Hnsw, Space, apart
from understudy.store.operations import Op, Query
from understudy.store.postgres import PostgresStore, in_step
from understudy.store.vector_scope import find_space

__all__ = ["PgVectors", "make_ready", "open_pgvector"]

_OLDEST: Final = (0, 7)  # the first with 16-bit numbers
_ITERATING: Final = (0, 8)  # the first whose index goes on looking where a filter leaves too little

_AVAILABLE: Final = "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"
_INSTALLED: Final = (
    "SELECT e.extversion, quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'vector'"
)
_COLUMN: Final = (
    "SELECT 1 FROM pg_attribute WHERE attrelid = 'chunk_vectors'::regclass AND attname = 'compared' "
    "AND NOT attisdropped"
)
_NO_EXTENSION: Final = (
    'vector_index = "pgvector" needs the extension `vector`, 0.7 or later, which this PostgreSQL server has not: '
    "install it there (Debian and Ubuntu: postgresql-NN-pgvector), or leave the setting out."
)
_OLD_EXTENSION: Final = (
    'vector_index = "pgvector" needs the extension `vector` 0.7 or later, and the database has {}: '
    "ALTER EXTENSION vector UPDATE."
)
# How a half is put together: what its upper byte says, and what one more in the lower is worth. Infinities are none.
_FUNCTION: Final = """CREATE OR REPLACE FUNCTION understudy_halfvec (halves bytea) RETURNS {schema}.halfvec
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    bases CONSTANT float8[] := ARRAY[{bases}];
    steps CONSTANT float8[] := ARRAY[{steps}];
    count CONSTANT int := length(halves) / 2;
    numbers float4[];
    upper int;
BEGIN
    IF count NOT BETWEEN 1 AND {most} THEN
        RETURN NULL;
    END IF;
    numbers := array_fill(0::float4, ARRAY[count]);
    FOR place IN 1..count LOOP
        upper := get_byte(halves, 2 * place - 1) + 1;
        numbers[place] := bases[upper] + steps[upper] * get_byte(halves, 2 * place - 2);
    END LOOP;
    RETURN numbers::{schema}.halfvec;
END $$"""
# In one statement, so that the rows are written once, and as they are to be kept: beside their row, if a page holds it.
_ADD_COLUMN: Final = (
    "ALTER TABLE chunk_vectors "
    "ADD COLUMN compared {schema}.halfvec GENERATED ALWAYS AS (understudy_halfvec(vector)) STORED, "
    "ALTER COLUMN compared SET STORAGE MAIN"
)
# Vectors have the length 1, so their inner product is the cosine; pgvector's operator gives its negative.
# Index: the table's key.
_EXACT: Final = (
    "SELECT generation, number, -(compared OPERATOR({schema}.<#>) CAST(? AS {schema}.halfvec)) AS cosine "
    "FROM chunk_vectors WHERE generation = ANY (CAST(? AS bigint[])) AND {inside} "
    "ORDER BY cosine DESC, generation, number LIMIT ?"
)
# Index: the space's own.
_BY_INDEX: Final = (
    "SELECT generation, number, -({one} OPERATOR({schema}.<#>) CAST(? AS {schema}.halfvec({dimensions}))) "
    "FROM chunk_vectors WHERE {inside} AND generation = ANY (CAST(? AS bigint[])) "
    "ORDER BY {one} OPERATOR({schema}.<#>) CAST(? AS {schema}.halfvec({dimensions})) LIMIT ?"
)
# Index: the table's key.
_COSINES: Final = (
    "SELECT v.generation, v.number, -(v.compared OPERATOR({schema}.<#>) CAST(? AS {schema}.halfvec)) "
    "FROM unnest(CAST(? AS bigint[]), CAST(? AS bigint[])) AS k (generation, number) JOIN chunk_vectors v "
    "ON v.generation = k.generation AND v.number = k.number WHERE {inside}"
)


class _Extension(Struct, frozen=True):
    """What the database has: the schema of pgvector's types, quoted, and whether its indexes go on under filters."""

    schema: str
    iterates: bool


class PgVectors(VectorIndex):
    """`ports.VectorIndex` on the database of a `PostgresStore`. `open_pgvector` makes it."""

    def __init__(self, store: PostgresStore, url: str, extension: _Extension) -> None:
        self._store = store
        self._extension = extension
        self._hnsw = Hnsw(store, url) if extension.iterates else None
        self._spaces: dict[Embedding, Space] = {}

    def has(self, embedding: Embedding) -> bool:
        return embedding.dimensions <= PGVECTOR_DIMENSIONS_MAX

    async def nearest(
        self, embedding: Embedding, vector: bytes, generations: Sequence[int], *, chunks: int, limit: int
    ) -> Sequence[Near]:
        space = await self._space(embedding)
        if space is None:
            return []
        asked, files = _written(vector), list(generations)
        large = chunks > PGVECTOR_EXACT_CHUNKS
        if large and self._hnsw is not None and await self._hnsw.is_good_for(space, chunks):
            by_index = Query(space.sql(_BY_INDEX), (asked, files, asked, limit))
            found = await self._store.read_under(BY_INDEX, _near(by_index))
            if len(found) == limit:
                return found
        return await self._store.read_under(PLAIN, _near(Query(space.sql(_EXACT), (asked, files, limit))))

    async def cosines(self, embedding: Embedding, vector: bytes, keys: Sequence[ChunkKey]) -> Sequence[Near]:
        space = await self._space(embedding)
        if space is None:
            return []
        generations, numbers = [key.generation for key in keys], [key.number for key in keys]
        query = Query(space.sql(_COSINES), (_written(vector), generations, numbers))
        return await self._store.read_under(PLAIN, _near(query))

    async def close(self) -> None:
        if self._hnsw is not None:
            await self._hnsw.close()

    async def _space(self, embedding: Embedding) -> Space | None:
        """`None`: no vectors are in it."""
        if embedding not in self._spaces:
            number = await self._store.read_under(PLAIN, find_space(embedding))
            if number is None:
                return None
            self._spaces[embedding] = Space(number, embedding, self._extension.schema)
        return self._spaces[embedding]


async def open_pgvector(store: PostgresStore, url: str) -> PgVectors:
    """The vectors of this store's database, made ready to be compared there. Raises `StoreUnavailable`."""
    return PgVectors(store, url, await make_ready(url))


async def make_ready(url: str) -> _Extension:
    """What the database has, from now on at the latest. Raises `StoreUnavailable`.

    The first time this writes every vector once more, while others wait who read or write vectors.
    """
    try:
        async with apart(url) as connection:
            return await in_step(connection, _ready)
    except asyncpg.InsufficientPrivilegeError as error:
        message = f"This user may not add pgvector to the database ({error}): CREATE EXTENSION vector, as its owner."
        raise StoreUnavailable(message) from error
    except FAILURES as error:
        raise StoreUnavailable(f"pgvector cannot be used: {error}") from error


def _ready() -> Op[_Extension]:
    installed = yield Query(_INSTALLED)
    if not installed:
        if not (yield Query(_AVAILABLE)):
            raise StoreUnavailable(_NO_EXTENSION)
        yield Query("CREATE EXTENSION vector")
        installed = yield Query(_INSTALLED)
    version, schema = installed[0]
    parts = tuple(int(part) for part in version.split(".")[:2])
    if parts < _OLDEST:
        raise StoreUnavailable(_OLD_EXTENSION.format(version))
    if not (yield Query(_COLUMN)):
        bases, steps = (", ".join(map(repr, numbers)) for numbers in _halves())
        most = PGVECTOR_DIMENSIONS_MAX
        yield Query(_FUNCTION.format(schema=schema, bases=bases, steps=steps, most=most))
        yield Query(_ADD_COLUMN.format(schema=schema))
    return _Extension(schema, parts >= _ITERATING)


def _halves() -> tuple[list[float], list[float]]:
    """Of each upper byte of a 16-bit number: what it is worth, and what one in the lower byte adds to it."""
    first = np.arange(256, dtype="<u2") << 8
    exponents = first >> 10 & 31
    first[exponents == 31] = 0
    bases, nexts = (numbers.view("<f2").astype(np.float64) for numbers in (first, first + 1))
    steps = np.where(exponents == 31, 0, nexts - bases)
    return bases.tolist(), steps.tolist()


def _near(query: Query) -> Op[Sequence[Near]]:
    rows = yield query
    return [Near(key=ChunkKey(generation, number), cosine=cosine) for generation, number, cosine in rows]


def _written(vector: bytes) -> str:
    """As pgvector reads it."""
    return f"[{','.join(map(repr, np.frombuffer(vector, '<f2').astype(np.float64).tolist()))}]"
