"""Schema version 2: files."""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def files(d: Dialect) -> Sequence[str]:
    return [
        f"""CREATE TABLE files (seq {d.sequence}, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL,
            purpose TEXT NOT NULL, expires_at {d.integer}, blob TEXT NOT NULL, mime_type TEXT NOT NULL,
            body {d.bytes} NOT NULL) {d.table_options}""",
    ]
