"""Uploads' rows, and those of their parts."""

from collections.abc import Sequence

from msgspec.structs import replace

from understudy.core.limits import UPLOAD_KEEP_SECONDS
from understudy.ports import Blob, Missing, StoredFile, StoredPart, StoredUpload, UploadEnded, UploadFull
from understudy.store.blob_keys import drop_blobs, name_blob
from understudy.store.codec import decode_part, decode_upload, encode
from understudy.store.files import insert_file
from understudy.store.operations import Op, Query, all_rows
from understudy.wire.uploads import Upload

# `ends_at`: when a pending upload expires, and an ended one is forgotten.
_INSERT = (
    "INSERT INTO uploads (id, project, status, ends_at, mime_type, file_seconds, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = "SELECT body, mime_type, file_seconds FROM uploads WHERE id = ? AND project = ?"
_END = "UPDATE uploads SET status = ?, ends_at = ?, body = ? WHERE id = ?"
_DELETE = "DELETE FROM uploads WHERE id = ?"
# Index: uploads_ending.
_ENDING = "SELECT id, project, status FROM uploads WHERE ends_at <= ? ORDER BY ends_at LIMIT ?"

_INSERT_PART = "INSERT INTO upload_parts (id, upload_id, blob, bytes, md5, body) VALUES (?, ?, ?, ?, ?, ?)"
# Index: upload_parts_by_upload, for these three.
_PARTS = "SELECT seq, body, blob, bytes, md5 FROM upload_parts WHERE upload_id = ? AND seq > ? ORDER BY seq LIMIT ?"
_SUM_PARTS = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM upload_parts WHERE upload_id = ?"
_DELETE_PARTS = "DELETE FROM upload_parts WHERE upload_id = ? RETURNING blob"


def add_upload(project: str, stored: StoredUpload) -> Op[None]:
    upload = stored.upload
    columns = (upload.id, project, upload.status, upload.expires_at, stored.mime_type, stored.file_seconds)
    yield Query(_INSERT, (*columns, encode(upload)))


def upload(project: str, upload_id: str) -> Op[StoredUpload | None]:
    rows = yield Query(_SELECT, (upload_id, project))
    if not rows:
        return None
    body, mime_type, file_seconds = rows[0]
    return StoredUpload(upload=decode_upload(body), mime_type=mime_type, file_seconds=file_seconds)


def add_part(project: str, stored: StoredPart, parts_max: int, bytes_max: int) -> Op[None]:
    part, blob = stored.part, stored.blob
    yield from _hold_pending(project, part.upload_id)
    rows = yield Query(_SUM_PARTS, (part.upload_id,))
    parts, bytes_ = rows[0]
    if parts >= parts_max or bytes_ + blob.bytes > bytes_max:
        raise UploadFull(part.upload_id)
    yield from name_blob(blob.key)
    yield Query(_INSERT_PART, (part.id, part.upload_id, blob.key, blob.bytes, blob.md5, encode(part)))


def parts(upload_id: str) -> Op[Sequence[StoredPart]]:
    rows = yield from all_rows(_PARTS, upload_id)
    return [
        StoredPart(part=decode_part(body), blob=Blob(key=key, bytes=bytes_, md5=md5))
        for _, body, key, bytes_, md5 in rows
    ]


def end_upload(project: str, ended: Upload, file: StoredFile | None) -> Op[None]:
    yield from _hold_pending(project, ended.id)
    keys = [key for (key,) in (yield Query(_DELETE_PARTS, (ended.id,)))]
    if file is not None:
        if file.blob not in keys:
            yield from name_blob(file.blob)
        yield from insert_file(project, file)
    yield from drop_blobs(key for key in keys if file is None or key != file.blob)
    yield Query(_END, (ended.status, ended.expires_at + UPLOAD_KEEP_SECONDS, encode(ended), ended.id))


def expire_uploads(now: int, limit: int) -> Op[int]:
    due = yield Query(_ENDING, (now, limit), locks=True)
    for upload_id, project, status in due:
        if status == "pending":
            stored = yield from upload(project, upload_id)
            assert stored is not None
            yield from end_upload(project, replace(stored.upload, status="expired"), None)
        else:
            yield Query(_DELETE, (upload_id,))
    return len(due)


def _hold_pending(project: str, upload_id: str) -> Op[None]:
    rows = yield Query(_SELECT, (upload_id, project), locks=True)
    if not rows:
        raise Missing("upload", upload_id)
    status = decode_upload(rows[0][0]).status
    if status != "pending":
        raise UploadEnded(status)
