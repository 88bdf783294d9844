"""Schema version 2: files and uploads. Their content lies in a blob store, under the keys in `blob`."""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def files(d: Dialect) -> Sequence[str]:
    tables = {
        "files": f"""seq {d.sequence}, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, purpose TEXT NOT NULL,
            expires_at {d.integer}, blob TEXT NOT NULL, mime_type TEXT NOT NULL, body {d.bytes} NOT NULL""",
        # Which assistants and threads have a file in their code interpreter's list: `owner` is one's id.
        "file_uses": "file_id TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (file_id, owner)",
        "uploads": f"""seq {d.sequence}, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, status TEXT NOT NULL,
            ends_at {d.integer} NOT NULL, mime_type TEXT NOT NULL, file_seconds {d.integer},
            body {d.bytes} NOT NULL""",
        "upload_parts": f"""seq {d.sequence}, id TEXT NOT NULL UNIQUE, upload_id TEXT NOT NULL,
            blob TEXT NOT NULL, bytes {d.integer} NOT NULL, md5 TEXT NOT NULL, body {d.bytes} NOT NULL""",
        # Content that no row names: from `due` on it may be deleted. `taken` is 1 once somebody began to.
        "unused_blobs": f"""blob TEXT PRIMARY KEY, due {d.integer} NOT NULL, taken {d.integer} NOT NULL""",
    }
    indexes = (
        "INDEX files_by_project ON files (project, seq)",
        "INDEX files_by_purpose ON files (project, purpose, seq)",
        "INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL",
        "INDEX file_uses_by_owner ON file_uses (owner)",
        "INDEX uploads_ending ON uploads (ends_at)",
        "INDEX upload_parts_by_upload ON upload_parts (upload_id, seq)",
        "INDEX unused_blobs_due ON unused_blobs (due)",
    )
    return [
        *(f"CREATE TABLE {name} ({columns}) {d.table_options}" for name, columns in tables.items()),
        *(f"CREATE {index}" for index in indexes),
    ]
