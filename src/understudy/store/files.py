"""Files' rows."""
# ruff: noqa: S608 - only constants of this package are put into SQL

from collections.abc import Sequence

from understudy.ports import StoredFile
from understudy.store.blob_keys import drop_blobs, name_blob
from understudy.store.codec import decode_file, encode
from understudy.store.file_uses import leave_lists
from understudy.store.operations import BATCH_ROWS_MAX, Op, Query
from understudy.store.vector_files import detach_everywhere
from understudy.wire.base import UNSET

_INSERT = "INSERT INTO files (id, project, purpose, expires_at, blob, mime_type, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
_ALIVE = "(expires_at IS NULL OR expires_at > ?)"
# Index: the one that keeps `id` unique.
_SELECT = f"SELECT body, blob, mime_type FROM files WHERE id = ? AND project = ? AND {_ALIVE}"
_FOUND = "SELECT id FROM files WHERE id IN ({places}) AND project = ? AND " + _ALIVE
_DELETE = "DELETE FROM files WHERE id = ? AND project = ? RETURNING blob"
# Index: files_expiring.
_EXPIRED = "SELECT id, project FROM files WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"


def add_file(project: str, stored: StoredFile) -> Op[None]:
    yield from name_blob(stored.blob)
    yield from insert_file(project, stored)


def insert_file(project: str, stored: StoredFile) -> Op[None]:
    """For whoever sees to its blob's key."""
    file = stored.file
    expires_at = None if file.expires_at is UNSET else file.expires_at
    columns = (file.id, project, file.purpose, expires_at, stored.blob, stored.mime_type)
    yield Query(_INSERT, (*columns, encode(file)))


def file(project: str, file_id: str, now: int) -> Op[StoredFile | None]:
    rows = yield Query(_SELECT, (file_id, project, now))
    if not rows:
        return None
    body, blob, mime_type = rows[0]
    return StoredFile(file=decode_file(body), blob=blob, mime_type=mime_type)


def missing_files(project: str, file_ids: Sequence[str], now: int) -> Op[Sequence[str]]:
    wanted = list(dict.fromkeys(file_ids))
    found: set[str] = set()
    for first in range(0, len(wanted), BATCH_ROWS_MAX):
        asked = wanted[first : first + BATCH_ROWS_MAX]
        sql = _FOUND.format(places=", ".join("?" * len(asked)))
        found.update(id_ for (id_,) in (yield Query(sql, (*asked, project, now))))
    return [id_ for id_ in wanted if id_ not in found]


def delete_file(project: str, file_id: str) -> Op[bool]:
    rows = yield Query(_DELETE, (file_id, project))
    if not rows:
        return False
    yield from drop_blobs([rows[0][0]])
    yield from leave_lists(file_id)
    yield from detach_everywhere(file_id)
    return True


def expire_files(now: int, limit: int) -> Op[int]:
    due = yield Query(_EXPIRED, (now, limit), locks=True)
    for file_id, project in due:
        yield from delete_file(project, file_id)
    return len(due)
