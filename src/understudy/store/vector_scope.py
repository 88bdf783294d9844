"""What the rows of vector stores share: the lock on a store, its version, its counts, and what is let go of."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from understudy.core.vector_stores import is_expired, used
from understudy.ports import Embedding, Missing, VectorStoreExpired
from understudy.store.codec import decode_vector_store, encode
from understudy.store.operations import Op, Query
from understudy.wire.vector_stores import FileCounts, VectorStore

# Reads a store by its unique id, and is no row at all for a store of another project.
STORE: Final = "(SELECT id FROM vector_stores WHERE id = ? AND project = ?)"

_HOLD = "SELECT space, expired, body FROM vector_stores WHERE id = ? AND project = ?"
_WRITE = "UPDATE vector_stores SET expires_at = ?, body = ? WHERE id = ?"
_BUMP = "UPDATE vector_stores SET version = version + 1 WHERE id = ?"
# Index: store_files_by_status, which holds all that is asked for.
_COUNT = (
    "SELECT store_id, status, COUNT(*), SUM(usage_bytes) FROM store_files WHERE store_id IN ({marks}) "
    "GROUP BY store_id, status"
)
_GENERATIONS = (
    "INSERT INTO meta (name, value) VALUES ('generations', ?) "
    "ON CONFLICT (name) DO UPDATE SET value = meta.value + excluded.value RETURNING value"
)
_LET_GO = "INSERT INTO let_go (generation, space) VALUES (?, ?)"
# Index: embeddings_once.
_FIND_SPACE = "SELECT space FROM embeddings WHERE model = ? AND dimensions = ?"
_ADD_SPACE = (
    "INSERT INTO embeddings (model, dimensions) VALUES (?, ?) "
    "ON CONFLICT (model, dimensions) DO UPDATE SET model = excluded.model RETURNING space"
)
_EMBEDDING = "SELECT model, dimensions FROM embeddings WHERE space = ?"


class Usage(Struct, frozen=True):
    """What a store's files come to."""

    counts: FileCounts = FileCounts()
    bytes: int = 0


def marks(count: int) -> str:
    """So many parameters."""
    return ", ".join(["?"] * count)


def hold_store(project: str, store_id: str) -> Op[VectorStore]:
    """Keeps the store as it is until the transaction ends. Its counts are not made. Raises `Missing`."""
    rows = yield Query(_HOLD, (store_id, project), locks=True)
    if not rows:
        raise Missing("vector store", store_id)
    return decode_vector_store(rows[0][2])


def use_store(project: str, store_id: str, at: int) -> Op[None]:
    """Holds the store and notes its use. Raises `Missing`, `VectorStoreExpired`."""
    store = yield from hold_store(project, store_id)
    if is_expired(store, at):
        raise VectorStoreExpired(store_id)
    active = used(store, at=at)
    if active != store:
        yield from write_store(active)


def write_store(store: VectorStore) -> Op[None]:
    yield Query(_WRITE, (store.expires_at, encode(store), store.id))


def bump_version(store_id: str) -> Op[None]:
    """What is searched has changed."""
    yield Query(_BUMP, (store_id,))


def usages(store_ids: Sequence[str]) -> Op[Mapping[str, Usage]]:
    """Of each store. One that has no files, or is none, comes to nothing."""
    counts: dict[str, dict[str, int]] = {store_id: {} for store_id in store_ids}
    sizes: dict[str, int] = defaultdict(int)
    if store_ids:
        rows = yield Query(_COUNT.format(marks=marks(len(store_ids))), tuple(store_ids))
        for store_id, status, count, usage_bytes in rows:
            counts[store_id][status] = count
            sizes[store_id] += int(usage_bytes)
    return {
        store_id: Usage(FileCounts(**found, total=sum(found.values())), sizes[store_id])
        for store_id, found in counts.items()
    }


def fresh_generations(count: int) -> Op[range]:
    """Numbers that no file's chunks ever had."""
    rows = yield Query(_GENERATIONS, (count,))
    last: int = rows[0][0]
    return range(last - count + 1, last + 1)


def let_go(generation: int, space: int | None = None) -> Op[None]:
    """Its chunks, or only their vectors of a space, are deleted later."""
    yield Query(_LET_GO, (generation, space))


def find_space(embedding: Embedding | None) -> Op[int | None]:
    """`None`: no vectors are in it, nor any store."""
    if embedding is None:
        return None
    rows = yield Query(_FIND_SPACE, (embedding.model, embedding.dimensions))
    return rows[0][0] if rows else None


def space_of(embedding: Embedding | None) -> Op[int | None]:
    """Its number, from now on at the latest."""
    if embedding is None:
        return None
    found = yield from find_space(embedding)
    if found is None:
        found = (yield Query(_ADD_SPACE, (embedding.model, embedding.dimensions)))[0][0]
    return found


def embedding_of(space: int | None) -> Op[Embedding | None]:
    if space is None:
        return None
    rows = yield Query(_EMBEDDING, (space,))
    return Embedding(model=rows[0][0], dimensions=rows[0][1])
