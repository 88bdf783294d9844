"""Chunks of indexed files: what is searched, what is shown of the few that are found, and vectors by their space."""
# ruff: noqa: S608 - only constants, and marks for parameters, are put into SQL

from collections.abc import Sequence
from typing import Final

from understudy.ports import Chunk, ChunkKey, Embedding, IndexedFile, IndexHead, IndexRow
from understudy.store.codec import decode_attributes
from understudy.store.operations import BATCH_ROWS_MAX, Op, Query, Row
from understudy.store.vector_scope import embedding_of, find_space, marks, space_of

_ROWS_PUT = 32
_NO_SPACE = -1

# Index: store_files_by_generation.
_JOB = (
    "SELECT lease_space FROM store_files WHERE generation = ? AND lease_owner = ? AND status = 'in_progress' "
    "AND EXISTS (SELECT 1 FROM vector_stores s WHERE s.id = store_files.store_id AND s.expired = 0)"
)
_PUT_CHUNKS = (
    "INSERT INTO chunks (generation, number, tokens, terms) VALUES {rows} ON CONFLICT (generation, number) "
    "DO UPDATE SET tokens = excluded.tokens, terms = excluded.terms"
)
_PUT_TEXTS = (
    "INSERT INTO chunk_texts (generation, number, page, text) VALUES {rows} ON CONFLICT (generation, number) "
    "DO UPDATE SET page = excluded.page, text = excluded.text"
)
_PUT_VECTORS = (
    "INSERT INTO chunk_vectors (generation, number, space, vector) VALUES {rows} "
    "ON CONFLICT (generation, number, space) DO UPDATE SET vector = excluded.vector"
)
# Index: the tables' keys.
_DROP: Final = tuple(
    f"DELETE FROM {table} WHERE generation = ? AND number >= ?" for table in ("chunks", "chunk_texts", "chunk_vectors")
)
_STORE = "SELECT version, space, expired FROM vector_stores WHERE id = ?"
# Index: store_files_searched.
_FILES = (
    "SELECT searched, file_id, file_name, attributes FROM store_files WHERE store_id = ? AND searched IS NOT NULL "
    "AND searched > ? ORDER BY searched LIMIT ?"
)
# Index: the keys of chunks and chunk_vectors.
_ROWS = (
    "SELECT c.number, c.terms, v.vector FROM chunks c LEFT JOIN chunk_vectors v "
    "ON v.generation = c.generation AND v.number = c.number AND v.space = ? "
    "WHERE c.generation = ? AND c.number > ? ORDER BY c.number LIMIT ?"
)
_TEXT = "SELECT text, page FROM chunk_texts WHERE generation = ? AND number = ?"
_SEARCHED = "SELECT searched FROM store_files WHERE store_id = ? AND file_id = ?"
_TEXTS = "SELECT number, text FROM chunk_texts WHERE generation = ? AND number > ? ORDER BY number LIMIT ?"
_PUT_VECTOR = (
    "INSERT INTO chunk_vectors (generation, number, space, vector) "
    "SELECT generation, number, CAST(? AS BIGINT), ? FROM chunks WHERE generation = ? AND number = ? "
    "ON CONFLICT (generation, number, space) DO UPDATE SET vector = excluded.vector"
)
# Index: store_files_searched.
_GENERATIONS = "SELECT searched FROM store_files WHERE store_id = ? AND searched > ? ORDER BY searched LIMIT ?"
# Index: the tables' keys.
_MISSING = (
    "SELECT t.number, t.text FROM chunk_texts t WHERE t.generation = ? AND t.number > ? AND NOT EXISTS ("
    "SELECT 1 FROM chunk_vectors v WHERE v.generation = t.generation AND v.number = t.number AND v.space = ?) "
    "ORDER BY t.number LIMIT ?"
)
_COUNT_MISSING = (
    "SELECT COUNT(*) FROM store_files f JOIN chunks c ON c.generation = f.searched "
    "WHERE f.store_id = ? AND NOT EXISTS ("
    "SELECT 1 FROM chunk_vectors v WHERE v.generation = c.generation AND v.number = c.number AND v.space = ?)"
)
# Index: the table's key. It is a command's query, which looks at every store.
_ELSEWHERE = (
    "SELECT seq, id FROM vector_stores WHERE expired = 0 AND space IS DISTINCT FROM CAST(? AS BIGINT) AND seq > ? "
    "ORDER BY seq LIMIT ?"
)
_SWITCH = "UPDATE vector_stores SET space = ?, version = version + 1 WHERE id = ?"
_LET_GO_OLDER = (
    "INSERT INTO let_go (generation, space) SELECT searched, CAST(? AS BIGINT) FROM store_files "
    "WHERE store_id = ? AND searched IS NOT NULL"
)
# What was left once and is come back to is not to be deleted.
_KEEP = (
    "DELETE FROM let_go WHERE space = ? AND generation IN "
    "(SELECT searched FROM store_files WHERE store_id = ? AND searched IS NOT NULL)"
)


def put_chunks(owner: str, generation: int, chunks: Sequence[Chunk]) -> Op[bool]:
    jobs = yield Query(_JOB, (generation, owner), locks=True)
    if not jobs:
        return False
    space = jobs[0][0]
    yield from _put(_PUT_CHUNKS, [(generation, one.number, one.tokens, one.terms) for one in chunks])
    yield from _put(_PUT_TEXTS, [(generation, one.number, one.page, one.text) for one in chunks])
    if space is not None:
        vectors = [(generation, one.number, space, one.vector) for one in chunks if one.vector is not None]
        yield from _put(_PUT_VECTORS, vectors)
    return True


def _put(sql: str, rows: Sequence[Sequence[object]]) -> Op[None]:
    """Many rows a statement, and few different statements."""
    while rows:
        count = _ROWS_PUT if len(rows) >= _ROWS_PUT else 1
        values = ", ".join([f"({marks(len(rows[0]))})"] * count)
        yield Query(sql.format(rows=values), tuple(column for row in rows[:count] for column in row))
        rows = rows[count:]


def drop_chunks(generation: int, *, from_number: int) -> Op[None]:
    for sql in _DROP:
        yield Query(sql, (generation, from_number))


def index_version(store_id: str) -> Op[int | None]:
    rows = yield Query(_STORE, (store_id,))
    return rows[0][0] if rows else None


def index_head(store_id: str) -> Op[IndexHead | None]:
    rows = yield Query(_STORE, (store_id,))
    if not rows:
        return None
    version, space, expired = rows[0]
    files = [] if expired else (yield from _all(_FILES, (store_id,)))
    return IndexHead(
        version=version,
        embedding=(yield from embedding_of(space)),
        files=[
            IndexedFile(
                generation=generation, file_id=file_id, file_name=name, attributes=decode_attributes(attributes)
            )
            for generation, file_id, name, attributes in files
        ],
    )


def index_rows(generation: int, embedding: Embedding | None) -> Op[Sequence[IndexRow]]:
    space = yield from find_space(embedding)
    rows = yield from _all(_ROWS, (space, generation))
    return [IndexRow(number=number, terms=terms, vector=vector) for number, terms, vector in rows]


def chunk_texts(keys: Sequence[ChunkKey]) -> Op[Sequence[tuple[str, int | None] | None]]:
    texts: list[tuple[str, int | None] | None] = []
    for key in keys:
        rows = yield Query(_TEXT, (key.generation, key.number))
        texts.append((rows[0][0], rows[0][1]) if rows else None)
    return texts


def file_texts(store_id: str, file_id: str) -> Op[Sequence[str]]:
    rows = yield Query(_SEARCHED, (store_id, file_id))
    if not rows or rows[0][0] is None:
        return []
    return [text for _, text in (yield from _all(_TEXTS, (rows[0][0],)))]


def _all(sql: str, params: tuple[object, ...]) -> Op[Sequence[Row]]:
    """Every row of a query that goes on behind the number that each row begins with."""
    found: list[Row] = []
    last = -1
    while True:
        rows = yield Query(sql, (*params, last, BATCH_ROWS_MAX))
        found.extend(rows)
        if len(rows) < BATCH_ROWS_MAX:
            return found
        last = rows[-1][0]


# --- re-embedding


def put_vectors(generation: int, embedding: Embedding, vectors: Sequence[tuple[int, bytes]]) -> Op[None]:
    """A chunk that is gone gets none."""
    space = yield from space_of(embedding)
    for number, vector in vectors:
        yield Query(_PUT_VECTOR, (space, vector, generation, number))


def missing_vectors(
    store_id: str, embedding: Embedding, limit: int, after: ChunkKey | None
) -> Op[Sequence[tuple[ChunkKey, str]]]:
    space = yield from find_space(embedding)
    found: list[tuple[ChunkKey, str]] = []
    generation, number = (0, -1) if after is None else (after.generation, after.number)
    last = generation - 1  # the generation of `after` may have more
    while rows := (yield Query(_GENERATIONS, (store_id, last, BATCH_ROWS_MAX))):
        for (last,) in rows:
            behind = number if last == generation else -1
            missing = yield Query(_MISSING, (last, behind, space, limit - len(found)))
            found += [(ChunkKey(last, number_), text) for number_, text in missing]
            if len(found) == limit:
                return found
    return found


def missing_vectors_count(store_id: str, embedding: Embedding) -> Op[int]:
    space = yield from find_space(embedding)
    rows = yield Query(_COUNT_MISSING, (store_id, space))
    return int(rows[0][0])


def stores_outside(embedding: Embedding) -> Op[Sequence[str]]:
    space = yield from find_space(embedding)
    rows = yield from _all(_ELSEWHERE, (_NO_SPACE if space is None else space,))
    return [store_id for _, store_id in rows]


def switch_embedding(store_id: str, embedding: Embedding) -> Op[bool]:
    rows = yield Query(_STORE, (store_id,), locks=True)
    if not rows or (yield from missing_vectors(store_id, embedding, 1, None)):
        return False
    older, space = rows[0][1], (yield from space_of(embedding))
    if older != space:
        yield Query(_SWITCH, (space, store_id))
        yield Query(_KEEP, (space, store_id))
        if older is not None:
            yield Query(_LET_GO_OLDER, (older, store_id))
    return True
