"""Batches: files that were attached together. Status and counts are made of the files' at each read."""
# ruff: noqa: S608 - only constants are put into SQL

from collections.abc import Sequence

from msgspec.structs import replace

from understudy.store.codec import decode_file_batch, decode_store_file, encode
from understudy.store.operations import Op, Query, all_rows
from understudy.store.vector_scope import STORE, let_go
from understudy.wire.vector_stores import FileCounts, VectorStoreFileBatch

_INSERT = "INSERT INTO file_batches (id, store_id, cancelled, body) VALUES (?, ?, 0, ?)"
# Index: store_files_once.
_ADD_FILE = (
    "INSERT INTO batch_files (batch_id, file_seq, generation) "
    "SELECT CAST(? AS TEXT), seq, generation FROM store_files WHERE store_id = ? AND file_id = ?"
)
_SELECT = f"SELECT body, cancelled FROM file_batches WHERE id = ? AND store_id = {STORE}"
# Index: the key of batch_files.
_COUNT = (
    "SELECT COUNT(CASE f.status WHEN 'in_progress' THEN 1 END), COUNT(CASE f.status WHEN 'completed' THEN 1 END), "
    "COUNT(CASE f.status WHEN 'failed' THEN 1 END), COUNT(CASE f.status WHEN 'cancelled' THEN 1 END), COUNT(*) "
    "FROM batch_files b JOIN store_files f ON f.seq = b.file_seq WHERE b.batch_id = ?"
)
_CANCEL = "UPDATE file_batches SET cancelled = 1 WHERE id = ?"
# Index: the key of batch_files.
_OPEN = (
    "SELECT f.seq, f.generation, f.body FROM batch_files b "
    "JOIN store_files f ON f.seq = b.file_seq AND f.generation = b.generation "
    "WHERE f.status = 'in_progress' AND b.batch_id = ? AND b.file_seq > ? ORDER BY b.file_seq LIMIT ?"
)
_CANCEL_FILE = (
    "UPDATE store_files SET status = 'cancelled', lease_owner = NULL, lease_until = NULL, body = ? WHERE seq = ?"
)


def add_batch(batch: VectorStoreFileBatch, file_ids: Sequence[str]) -> Op[None]:
    """Of files that were attached in this transaction."""
    yield Query(_INSERT, (batch.id, batch.vector_store_id, encode(batch)))
    for file_id in file_ids:
        yield Query(_ADD_FILE, (batch.id, batch.vector_store_id, file_id))


def batch(project: str, store_id: str, batch_id: str) -> Op[VectorStoreFileBatch | None]:
    rows = yield Query(_SELECT, (batch_id, store_id, project))
    if not rows:
        return None
    body, cancelled = rows[0]
    in_progress, completed, failed, cancelled_files, total = (yield Query(_COUNT, (batch_id,)))[0]
    counts = FileCounts(
        in_progress=in_progress, completed=completed, failed=failed, cancelled=cancelled_files, total=total
    )
    made = replace(decode_file_batch(body), file_counts=counts)
    if cancelled:
        return replace(made, status="cancelled")
    if in_progress:
        return made
    return replace(made, status="failed" if failed and failed == total else "completed")


def cancel_batch(project: str, store_id: str, batch_id: str) -> Op[VectorStoreFileBatch | None]:
    rows = yield Query(_SELECT, (batch_id, store_id, project), locks=True)
    if not rows:
        return None
    files = yield from all_rows(_OPEN, batch_id)
    for seq, generation, body in files:
        yield Query(_CANCEL_FILE, (encode(replace(decode_store_file(body), status="cancelled")), seq))
        yield from let_go(generation)
    if files:
        yield Query(_CANCEL, (batch_id,))
    return (yield from batch(project, store_id, batch_id))
