"""What is true of the database and of everything beside it, by name."""

from understudy.store.operations import Op, Query

_KEEP = "INSERT INTO installation (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING"
_LOOK = "SELECT value FROM installation WHERE name = ?"


def kept(name: str, value: str) -> Op[str]:
    """The value that was kept first: this one, where there was none."""
    rows = yield Query(_LOOK, (name,))
    if not rows:
        yield Query(_KEEP, (name, value))
        rows = yield Query(_LOOK, (name,))
    return str(rows[0][0])


def look_up(name: str) -> Op[str | None]:
    rows = yield Query(_LOOK, (name,))
    return rows[0][0] if rows else None
