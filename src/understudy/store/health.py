"""Whether the engine can write and read: a row that says nothing else."""

from understudy.store.operations import Op, Query

_TOUCH = "INSERT INTO meta (name, value) VALUES ('checked', 1) ON CONFLICT (name) DO UPDATE SET value = meta.value + 1"
_LOOK = "SELECT value FROM meta WHERE name = 'checked'"


def touch() -> Op[None]:
    yield Query(_TOUCH)


def look() -> Op[None]:
    yield Query(_LOOK)
