"""What nobody can reach any more is deleted here, a bounded piece a transaction: others write between them."""

from msgspec.structs import replace

from understudy.store.chunks import drop_chunks
from understudy.store.codec import decode_store_file, encode
from understudy.store.operations import Op, Query
from understudy.store.vector_files import remove_file
from understudy.store.vector_scope import let_go

# Index: the primary key.
_CHUNKS = "SELECT seq, generation, space FROM let_go WHERE seq > 0 ORDER BY seq LIMIT ?"
_LAST = "SELECT MAX(number) FROM chunks WHERE generation = ?"
_LAST_OF_SPACE = "SELECT MAX(number) FROM chunk_vectors WHERE generation = ? AND space = ?"
_DROP_VECTORS = "DELETE FROM chunk_vectors WHERE generation = ? AND number >= ? AND space = ?"
_DONE = "DELETE FROM let_go WHERE seq = ?"

# Index: the primary key.
_STORE = "SELECT seq, store_id, file_seq FROM let_go_stores WHERE seq > 0 ORDER BY seq LIMIT 1"
_STILL_THERE = "SELECT 1 FROM vector_stores WHERE id = ?"
# Index: store_files_by_store.
_FILES = (
    "SELECT seq, generation, searched, status, body FROM store_files WHERE store_id = ? AND seq > ? "
    "ORDER BY seq LIMIT ?"
)
_EMPTY = (
    "UPDATE store_files SET status = ?, searched = NULL, usage_bytes = 0, lease_owner = NULL, lease_until = NULL, "
    "body = ? WHERE seq = ?"
)
_GO_ON = "UPDATE let_go_stores SET file_seq = ? WHERE seq = ?"
_STORE_DONE = "DELETE FROM let_go_stores WHERE seq = ?"
# Index: file_batches_by_store.
_DELETE_BATCHES = "DELETE FROM file_batches WHERE store_id = ?"


def prune_index(chunks: int, files: int) -> Op[bool]:
    """Deletes at most so many chunks, or sees to at most so many files; whether there may be more to do."""
    rows = yield Query(_CHUNKS, (files,), locks=True)
    if rows:
        for seq, generation, space in rows:
            if chunks <= 0:
                break
            chunks -= yield from _prune_chunks(seq, generation, space, chunks)
        return True
    rows = yield Query(_STORE, locks=True)
    if rows:
        seq, store_id, file_seq = rows[0]
        yield from _prune_store(seq, store_id, file_seq, files)
        return True
    return False


def _prune_chunks(seq: int, generation: int, space: int | None, limit: int) -> Op[int]:
    """How many were deleted. From the end, so that the last number says how many are left."""
    if space is None:
        last = (yield Query(_LAST, (generation,)))[0][0]
    else:
        last = (yield Query(_LAST_OF_SPACE, (generation, space)))[0][0]
    left = 0 if last is None else last + 1
    first = max(0, left - limit)
    if space is None:
        yield from drop_chunks(generation, from_number=first)
    else:
        yield Query(_DROP_VECTORS, (generation, first, space))
    if first == 0:
        yield Query(_DONE, (seq,))
    return left - first


def _prune_store(seq: int, store_id: str, after_seq: int, limit: int) -> Op[None]:
    expired = bool((yield Query(_STILL_THERE, (store_id,), locks=True)))
    rows = yield Query(_FILES, (store_id, after_seq, limit), locks=True)
    for file_seq, generation, searched, status, body in rows:
        if not expired:
            yield from remove_file(file_seq, generation, searched)
            continue
        status = "cancelled" if status == "in_progress" else status
        yield Query(_EMPTY, (status, encode(replace(decode_store_file(body), status=status, usage_bytes=0)), file_seq))
        for gone in {generation, searched} - {None}:
            yield from let_go(gone)
    if len(rows) == limit:
        yield Query(_GO_ON, (rows[-1][0], seq))
        return
    yield Query(_STORE_DONE, (seq,))
    if not expired:
        yield Query(_DELETE_BATCHES, (store_id,))
