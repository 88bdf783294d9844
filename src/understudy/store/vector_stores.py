"""Vector stores' rows. Counts, usage and status are of the files, and are made of them at each read."""

from collections.abc import Sequence

from msgspec.structs import replace

from understudy.core.vector_stores import used
from understudy.ports import ChangeStore, NewVectorStore, PageQuery, Rows, StoredVectorStore
from understudy.store.codec import decode_vector_store, encode
from understudy.store.operations import Op, Query
from understudy.store.pages import page
from understudy.store.vector_files import put_in_line
from understudy.store.vector_scope import Usage, embedding_of, hold_store, space_of, usages, write_store
from understudy.wire.vector_stores import VectorStore

_INSERT = (
    "INSERT INTO vector_stores (id, project, space, version, expires_at, expired, body) VALUES (?, ?, ?, 1, ?, 0, ?)"
)
_SELECT = "SELECT body, version, space FROM vector_stores WHERE id = ? AND project = ?"
_DELETE = "DELETE FROM vector_stores WHERE id = ? AND project = ? RETURNING id"
_LIVE = "SELECT body FROM vector_stores WHERE id = ? AND expired = 0"
# Index: vector_stores_expiring.
_DUE = "SELECT body FROM vector_stores WHERE expired = 0 AND expires_at <= ? ORDER BY expires_at, seq LIMIT ?"
_EXPIRE = "UPDATE vector_stores SET expired = 1, version = version + 1, body = ? WHERE id = ?"
_LET_GO = (
    "INSERT INTO let_go_stores (store_id, file_seq) VALUES (?, 0) ON CONFLICT (store_id) DO UPDATE SET file_seq = 0"
)


def add_vector_store(project: str, new: NewVectorStore) -> Op[VectorStore]:
    store = new.store
    space = yield from space_of(new.embedding)
    yield Query(_INSERT, (store.id, project, space, store.expires_at, encode(store)))
    yield from put_in_line(project, store.id, new.files, at=store.created_at)
    return (yield from _shown(store))


def vector_store(project: str, store_id: str) -> Op[StoredVectorStore | None]:
    rows = yield Query(_SELECT, (store_id, project))
    if not rows:
        return None
    body, version, space = rows[0]
    shown = yield from _shown(decode_vector_store(body))
    return StoredVectorStore(store=shown, embedding=(yield from embedding_of(space)), version=version)


def vector_stores_page(project: str, query: PageQuery) -> Op[Rows]:
    rows = yield from page("vector store", project, None, query)
    found = yield from usages(rows.ids)
    stores = [decode_vector_store(body) for body in rows.bodies]
    shown = [encode(_with_usage(store, found[store.id])) for store in stores]
    return Rows(ids=rows.ids, bodies=shown, has_more=rows.has_more)


def update_vector_store(project: str, store_id: str, change: ChangeStore) -> Op[VectorStore]:
    changed = change((yield from hold_store(project, store_id)))
    yield from write_store(changed)
    return (yield from _shown(changed))


def delete_vector_store(project: str, store_id: str) -> Op[bool]:
    """The store is gone at once; what lies under it goes with the sweep."""
    if not (yield Query(_DELETE, (store_id, project))):
        return False
    yield Query(_LET_GO, (store_id,))
    return True


def use_vector_stores(store_ids: Sequence[str], at: int) -> Op[None]:
    for store_id in sorted(store_ids):
        rows = yield Query(_LIVE, (store_id,), locks=True)
        if rows:
            before = decode_vector_store(rows[0][0])
            after = used(before, at=at)
            if after != before:
                yield from write_store(after)


def expire_vector_stores(now: int, limit: int) -> Op[int]:
    rows = yield Query(_DUE, (now, limit), locks=True)
    for (body,) in rows:
        expired = replace(decode_vector_store(body), status="expired")
        yield Query(_EXPIRE, (encode(expired), expired.id))
        yield Query(_LET_GO, (expired.id,))
    return len(rows)


def _shown(store: VectorStore) -> Op[VectorStore]:
    found = yield from usages([store.id])
    return _with_usage(store, found[store.id])


def _with_usage(store: VectorStore, usage: Usage) -> VectorStore:
    """A store's row knows whether it is expired, and nothing else of its status."""
    status = store.status
    if status != "expired":
        status = "in_progress" if usage.counts.in_progress else "completed"
    return replace(store, status=status, file_counts=usage.counts, usage_bytes=usage.bytes)
