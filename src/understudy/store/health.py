"""Whether the engine can write and read, by a row that says nothing else; and what time it has."""

from understudy.store.operations import Op, Query

_TOUCH = "INSERT INTO meta (name, value) VALUES ('checked', 1) ON CONFLICT (name) DO UPDATE SET value = meta.value + 1"
_LOOK = "SELECT value FROM meta WHERE name = 'checked'"

_TIME = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def touch() -> Op[None]:
    yield Query(_TOUCH)


def look() -> Op[None]:
    yield Query(_LOOK)


def time() -> Op[float]:
    """In Unix seconds. Of engines with a clock of their own only."""
    rows = yield Query(_TIME)
    at: float = rows[0][0]
    return at
