"""The files of vector stores: attached, listed, labelled, detached. How they are indexed: `ingest.py`."""
# ruff: noqa: S608 - only constants, and marks for parameters, are put into SQL

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from understudy.core.limits import FILES_PER_STORE_MAX
from understudy.ports import Missing, NewStoreFile, PageQuery, Rows, VectorStoreFull
from understudy.store.codec import decode_file, decode_store_file, encode
from understudy.store.file_batches import add_batch
from understudy.store.operations import BATCH_ROWS_MAX, Op, Query
from understudy.store.pages import bounds, reads_descending, rows_of
from understudy.store.vector_scope import (
    STORE,
    bump_version,
    fresh_generations,
    hold_store,
    let_go,
    marks,
    usages,
    use_store,
)
from understudy.wire.tools import StaticChunking
from understudy.wire.vector_stores import Attributes, FileStatus, VectorStoreFile, VectorStoreFileBatch

# An expired file is none; it is soon swept.
_NAMES = "SELECT id, body FROM files WHERE project = ? AND (expires_at IS NULL OR expires_at > ?) AND id IN ({marks})"
_INSERT = (
    "INSERT INTO store_files "
    "(store_id, file_id, file_name, status, generation, attempts, usage_bytes, attributes, body) "
    "VALUES (?, ?, ?, 'in_progress', ?, 0, 0, ?, ?)"
)
# Index: store_files_once.
_HOLD = "SELECT seq, generation, searched, body FROM store_files WHERE store_id = ? AND file_id = ?"
_AGAIN = (
    "UPDATE store_files SET status = 'in_progress', generation = ?, lease_owner = NULL, lease_until = NULL, "
    "lease_space = NULL, attempts = 0, attributes = ?, body = ? WHERE seq = ?"
)
_SELECT = f"SELECT body FROM store_files WHERE file_id = ? AND store_id = {STORE}"
_LABEL = "UPDATE store_files SET attributes = ?, body = ? WHERE seq = ?"
# Index: store_files_by_file.
_STORES_OF = "SELECT store_id, seq FROM store_files WHERE file_id = ? AND seq > ? ORDER BY seq LIMIT ?"
_LOCK_STORE = "SELECT id FROM vector_stores WHERE id = ?"
_DELETE = "DELETE FROM store_files WHERE seq = ?"
# Index: batch_files_by_file.
_LEAVE_BATCHES = "DELETE FROM batch_files WHERE file_seq = ?"

_IN_STORE: Final = f"store_id = {STORE}"
_IN_BATCH: Final = f"b.batch_id = (SELECT id FROM file_batches WHERE id = ? AND store_id = {STORE})"
_CURSOR: Final = f"SELECT seq FROM store_files WHERE file_id = ? AND {_IN_STORE}"
_CURSOR_IN_BATCH: Final = (
    f"SELECT f.seq FROM store_files f JOIN batch_files b ON b.file_seq = f.seq WHERE f.file_id = ? AND {_IN_BATCH}"
)
# Indexes: store_files_by_store, store_files_by_status; the order is their `seq`.
_PAGE: Final = (
    f"SELECT file_id, body, seq FROM store_files WHERE {_IN_STORE}{{status}} AND seq > ? AND seq < ? "
    "ORDER BY seq {way} LIMIT ?"
)
# Index: the key of batch_files.
_PAGE_OF_BATCH: Final = (
    "SELECT f.file_id, f.body, b.file_seq FROM batch_files b JOIN store_files f ON f.seq = b.file_seq "
    f"WHERE {_IN_BATCH}{{status}} AND b.file_seq > ? AND b.file_seq < ? ORDER BY b.file_seq {{way}} LIMIT ?"
)


def attach_files(
    project: str, store_id: str, files: Sequence[NewStoreFile], at: int, batch: VectorStoreFileBatch | None
) -> Op[Sequence[VectorStoreFile]]:
    yield from use_store(project, store_id, at)
    attached = yield from put_in_line(project, store_id, files, at=at)
    if batch is not None:
        yield from add_batch(batch, [one.id for one in attached])
    return attached


def put_in_line(project: str, store_id: str, files: Sequence[NewStoreFile], *, at: int) -> Op[list[VectorStoreFile]]:
    """To a store that this transaction holds. Raises `Missing` (a file), `VectorStoreFull`.

    A file that is named twice is attached once, as it was named last.
    """
    if not files:
        return []
    distinct = {one.file_id: one for one in files}
    names = yield from _names(project, list(distinct), at)
    attached = []
    for one, generation in zip(distinct.values(), (yield from fresh_generations(len(distinct))), strict=True):
        attached.append((yield from _attach(store_id, one, names[one.file_id], generation, at)))
    found = yield from usages([store_id])
    if found[store_id].counts.total > FILES_PER_STORE_MAX:
        raise VectorStoreFull(store_id)
    return attached


def _names(project: str, file_ids: Sequence[str], at: int) -> Op[Mapping[str, str]]:
    names: dict[str, str] = {}
    for start in range(0, len(file_ids), BATCH_ROWS_MAX):
        wanted = file_ids[start : start + BATCH_ROWS_MAX]
        # Held, so that none is deleted before its place in the store can be found by who deletes it.
        rows = yield Query(_NAMES.format(marks=marks(len(wanted))), (project, at, *wanted), locks=True)
        names |= {id_: decode_file(body).filename for id_, body in rows}
    for file_id in file_ids:
        if file_id not in names:
            raise Missing("file", file_id)
    return names


def _attach(store_id: str, new: NewStoreFile, name: str, generation: int, at: int) -> Op[VectorStoreFile]:
    strategy = StaticChunking(static=new.chunking)
    rows = yield Query(_HOLD, (store_id, new.file_id), locks=True)
    if not rows:
        made = VectorStoreFile(
            id=new.file_id,
            created_at=at,
            vector_store_id=store_id,
            chunking_strategy=strategy,
            attributes=new.attributes,
        )
        yield Query(_INSERT, (store_id, new.file_id, name, generation, encode(new.attributes), encode(made)))
        return made
    seq, older, searched, body = rows[0]
    again = replace(
        decode_store_file(body),
        status="in_progress",
        last_error=None,
        chunking_strategy=strategy,
        attributes=new.attributes,
    )
    yield Query(_AGAIN, (generation, encode(new.attributes), encode(again), seq))
    if older != searched:
        yield from let_go(older)
    if searched is not None:
        yield from bump_version(store_id)  # it is searched with its new attributes meanwhile
    return again


def store_file(project: str, store_id: str, file_id: str) -> Op[VectorStoreFile | None]:
    rows = yield Query(_SELECT, (file_id, store_id, project))
    return decode_store_file(rows[0][0]) if rows else None


def store_files_page(
    project: str, store_id: str, query: PageQuery, status: FileStatus | None, batch_id: str | None
) -> Op[Rows]:
    scope = (store_id, project) if batch_id is None else (batch_id, store_id, project)
    low, high = yield from bounds("file", scope, query, cursor=_CURSOR if batch_id is None else _CURSOR_IN_BATCH)
    sql, column = (_PAGE, "status") if batch_id is None else (_PAGE_OF_BATCH, "f.status")
    sql = sql.format(
        status="" if status is None else f" AND {column} = ?", way="DESC" if reads_descending(query) else "ASC"
    )
    wanted = () if status is None else (status,)
    return rows_of(query, (yield Query(sql, (*scope, *wanted, low, high, query.limit + 1))))


def set_attributes(project: str, store_id: str, file_id: str, attributes: Attributes) -> Op[VectorStoreFile]:
    yield from hold_store(project, store_id)
    rows = yield Query(_HOLD, (store_id, file_id), locks=True)
    if not rows:
        raise Missing("file", file_id)
    seq, _, searched, body = rows[0]
    labelled = replace(decode_store_file(body), attributes=attributes)
    yield Query(_LABEL, (encode(attributes), encode(labelled), seq))
    if searched is not None:
        yield from bump_version(store_id)
    return labelled


def detach_file(project: str, store_id: str, file_id: str) -> Op[bool]:
    try:
        yield from hold_store(project, store_id)
    except Missing:
        return False
    return (yield from _detach(store_id, file_id))


def detach_everywhere(file_id: str) -> Op[None]:
    """The file leaves every store. For the end of the file itself, whose project has been checked."""
    after_seq = 0
    while rows := (yield Query(_STORES_OF, (file_id, after_seq, BATCH_ROWS_MAX))):
        for store_id, _ in rows:
            yield Query(_LOCK_STORE, (store_id,), locks=True)
            yield from _detach(store_id, file_id)
        after_seq = rows[-1][1]


def _detach(store_id: str, file_id: str) -> Op[bool]:
    rows = yield Query(_HOLD, (store_id, file_id), locks=True)
    if not rows:
        return False
    seq, generation, searched, _ = rows[0]
    yield from remove_file(seq, generation, searched)
    yield from bump_version(store_id)
    return True


def remove_file(seq: int, generation: int, searched: int | None) -> Op[None]:
    """A row and all that hangs on it."""
    yield Query(_LEAVE_BATCHES, (seq,))
    yield Query(_DELETE, (seq,))
    yield from let_go(generation)
    if searched is not None and searched != generation:
        yield from let_go(searched)
