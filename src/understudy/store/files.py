"""Files' rows."""

from understudy.ports import StoredFile
from understudy.store.codec import encode
from understudy.store.operations import Op, Query

_INSERT = "INSERT INTO files (id, project, purpose, blob, mime_type, body) VALUES (?, ?, ?, ?, ?, ?)"


def insert_file(project: str, stored: StoredFile) -> Op[None]:
    columns = (stored.file.id, project, stored.file.purpose, stored.blob, stored.mime_type)
    yield Query(_INSERT, (*columns, encode(stored.file)))
