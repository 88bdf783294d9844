"""API keys' rows: digests, never keys."""

from collections.abc import Sequence

from understudy.core.ids import ProjectId
from understudy.ports import StoredKey
from understudy.store.operations import Op, Query, Row, all_rows

_INSERT = "INSERT INTO api_keys (id, name, hint, digest, project, created_at, revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
# Index: the primary key.
_ALL = (
    "SELECT seq, id, name, hint, digest, project, created_at, revoked_at FROM api_keys "
    "WHERE seq > ? ORDER BY seq LIMIT ?"
)
# Index: the one that keeps `digest` unique.
_BY_DIGEST = (
    "SELECT seq, id, name, hint, digest, project, created_at, revoked_at FROM api_keys WHERE digest = ? LIMIT 1"
)
_REVOKE = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL RETURNING id"


def add_key(key: StoredKey) -> Op[None]:
    yield Query(_INSERT, (key.id, key.name, key.hint, key.digest, key.project, key.created_at, key.revoked_at))


def keys() -> Op[Sequence[StoredKey]]:
    """All of them, revoked ones too, oldest first."""
    rows = yield from all_rows(_ALL)
    return [_stored(row) for row in rows]


def key_by_digest(digest: bytes) -> Op[StoredKey | None]:
    rows = yield Query(_BY_DIGEST, (digest,))
    return _stored(rows[0]) if rows else None


def revoke_key(key_id: str, at: int) -> Op[bool]:
    """False: there is no such key, or it was revoked already and keeps its first date."""
    return bool((yield Query(_REVOKE, (at, key_id))))


def _stored(row: Row) -> StoredKey:
    _, id_, name, hint, digest, project, created_at, revoked_at = row
    return StoredKey(
        id=id_,
        name=name,
        hint=hint,
        digest=digest,
        project=ProjectId(project),
        created_at=created_at,
        revoked_at=revoked_at,
    )
