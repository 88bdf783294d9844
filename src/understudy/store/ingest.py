"""Files that are to be indexed: claimed under a lease, finished or failed by whoever holds it."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from understudy.core.ids import ProjectId
from understudy.core.limits import INGEST_ATTEMPTS_MAX
from understudy.ports import IngestJob, StoredFile
from understudy.store.chunks import drop_chunks
from understudy.store.codec import decode_file, decode_store_file, encode
from understudy.store.operations import Op, Query, Row
from understudy.store.vector_scope import bump_version, embedding_of, let_go, marks
from understudy.wire.vector_stores import FileError, FileErrorCode, VectorStoreFile

LOST_TOO_OFTEN = f"The file was not indexed: its indexing was broken off {INGEST_ATTEMPTS_MAX} times."
GONE = "The file is gone."

# Index: store_files_claimable.
_CLAIMABLE = (
    "SELECT seq, generation, store_id, file_id, attempts, body FROM store_files f WHERE status = 'in_progress' "
    "AND (lease_until IS NULL OR lease_until <= ?) "
    "AND EXISTS (SELECT 1 FROM vector_stores s WHERE s.id = f.store_id AND s.expired = 0) "
    "ORDER BY generation LIMIT ?"
)
_STORE = "SELECT project, space FROM vector_stores WHERE id = ?"
_FILE = "SELECT body, blob, mime_type FROM files WHERE id = ?"
_CLAIM = (
    "UPDATE store_files SET lease_owner = ?, lease_until = ?, lease_space = ?, attempts = attempts + 1 WHERE seq = ?"
)
# Index: store_files_by_generation.
_RENEW = (
    "UPDATE store_files SET lease_until = ? WHERE generation = ? AND lease_owner = ? AND status = 'in_progress' "
    "AND EXISTS (SELECT 1 FROM vector_stores s WHERE s.id = store_files.store_id AND s.expired = 0) "
    "RETURNING generation"
)
_RELEASE = (
    "UPDATE store_files SET lease_owner = NULL, lease_until = NULL, attempts = attempts - 1 "
    "WHERE generation = ? AND lease_owner = ? AND status = 'in_progress'"
)
_STORE_OF_JOB = "SELECT store_id FROM store_files WHERE generation = ? AND lease_owner = ? AND status = 'in_progress'"
_HOLD_STORE = "SELECT space FROM vector_stores WHERE id = ? AND expired = 0"
_HOLD = (
    "SELECT seq, searched, lease_space, body FROM store_files "
    "WHERE generation = ? AND lease_owner = ? AND status = 'in_progress'"
)
_END = (
    "UPDATE store_files SET status = ?, searched = ?, usage_bytes = ?, body = ?, lease_owner = NULL, "
    "lease_until = NULL WHERE seq = ?"
)
_FAIL = "UPDATE store_files SET status = 'failed', lease_owner = NULL, lease_until = NULL, body = ? WHERE seq = ?"
_AGAIN = "UPDATE store_files SET lease_owner = NULL, lease_until = NULL, attempts = 0 WHERE seq = ?"
# Index: store_files_by_status.
_BEING_INDEXED = "SELECT 1 FROM store_files WHERE store_id IN ({marks}) AND status = 'in_progress' LIMIT 1"


class _Held(Struct, frozen=True):
    """A job, kept as it is until the transaction ends. `lease_space` was its store's space when it was claimed."""

    seq: int
    store_id: str
    file: VectorStoreFile
    searched: int | None
    space: int | None
    lease_space: int | None


def claim_ingest(owner: str, now: float, until: float, limit: int) -> Op[Sequence[IngestJob]]:
    jobs: list[IngestJob] = []
    while rows := (yield Query(_CLAIMABLE, (now, limit - len(jobs)), locks=True)):
        for row in rows:
            job = yield from _claim(row, owner, until)
            if job is not None:
                jobs.append(job)
        if len(jobs) == limit:
            break
    return jobs


def _claim(row: Row, owner: str, until: float) -> Op[IngestJob | None]:
    """`None`: it was tried often enough, and has failed."""
    seq, generation, store_id, file_id, attempts, body = row
    file = decode_store_file(body)
    found = yield Query(_FILE, (file_id,))
    if attempts >= INGEST_ATTEMPTS_MAX or not found:
        yield from _fail(seq, generation, file, "server_error", LOST_TOO_OFTEN if found else GONE)
        return None
    project, space = (yield Query(_STORE, (store_id,)))[0]
    yield Query(_CLAIM, (owner, until, space, seq))
    content, blob, mime_type = found[0]
    return IngestJob(
        project=ProjectId(project),
        store_id=store_id,
        generation=generation,
        stored=StoredFile(file=decode_file(content), blob=blob, mime_type=mime_type),
        chunking=file.chunking_strategy.static,
        embedding=(yield from embedding_of(space)),
        attempts=attempts + 1,
    )


def renew_ingest(owner: str, generations: Sequence[int], until: float) -> Op[Sequence[int]]:
    going_on: list[int] = []
    for generation in generations:
        rows = yield Query(_RENEW, (until, generation, owner))
        going_on += [row[0] for row in rows]
    return going_on


def release_ingest(owner: str, generations: Sequence[int]) -> Op[None]:
    for generation in generations:
        yield Query(_RELEASE, (generation, owner))


def finish_ingest(owner: str, generation: int, chunks: int, usage_bytes: int) -> Op[bool]:
    job = yield from _hold(owner, generation)
    if job is None:
        return False
    if job.space != job.lease_space:
        # The store was re-embedded meanwhile: this file's vectors are of the space that was left.
        yield Query(_AGAIN, (job.seq,))
        return False
    yield from drop_chunks(generation, from_number=chunks)
    done = replace(job.file, status="completed", last_error=None, usage_bytes=usage_bytes)
    yield Query(_END, ("completed", generation, usage_bytes, encode(done), job.seq))
    if job.searched is not None:
        yield from let_go(job.searched)
    yield from bump_version(job.store_id)
    return True


def fail_ingest(owner: str, generation: int, code: FileErrorCode, message: str) -> Op[bool]:
    job = yield from _hold(owner, generation)
    if job is None:
        return False
    yield from _fail(job.seq, generation, job.file, code, message)
    return True


def _fail(seq: int, generation: int, file: VectorStoreFile, code: FileErrorCode, message: str) -> Op[None]:
    """An older generation goes on answering: the file's content has not changed, only its chunks were to."""
    failed = replace(file, status="failed", last_error=FileError(code=code, message=message))
    yield Query(_FAIL, (encode(failed), seq))
    yield from let_go(generation)


def _hold(owner: str, generation: int) -> Op[_Held | None]:
    rows = yield Query(_STORE_OF_JOB, (generation, owner))
    if not rows:
        return None
    store_id = rows[0][0]
    # The store before its file, as everywhere.
    stores = yield Query(_HOLD_STORE, (store_id,), locks=True)
    rows = yield Query(_HOLD, (generation, owner), locks=True)
    if not stores or not rows:
        return None
    seq, searched, lease_space, body = rows[0]
    return _Held(seq, store_id, decode_store_file(body), searched, stores[0][0], lease_space)


def being_indexed(store_ids: Sequence[str]) -> Op[bool]:
    if not store_ids:
        return False
    return bool((yield Query(_BEING_INDEXED.format(marks=marks(len(store_ids))), tuple(store_ids))))
