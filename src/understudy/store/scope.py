"""What belongs to whom: the conditions that keep projects apart, and the lock on a thread."""
# ruff: noqa: S608 - only constants of this package are put into SQL

from typing import Final

from understudy.core.ids import Kind, RunId
from understudy.ports import Missing
from understudy.store.operations import Op, Query

# Each reads a parent by its unique id, and is no row at all for a parent of another project.
_THREAD: Final = "(SELECT id FROM threads WHERE id = ? AND project = ?)"
_RUN: Final = "(SELECT r.id FROM runs r JOIN threads t ON t.id = r.thread_id WHERE r.id = ? AND t.project = ?)"

TABLES: Final[dict[Kind, str]] = {
    "assistant": "assistants",
    "thread": "threads",
    "message": "messages",
    "run": "runs",
    "step": "steps",
    "file": "files",
    "vector store": "vector_stores",
}
CONDITIONS: Final[dict[Kind, str]] = {
    "assistant": "project = ?",
    "thread": "project = ?",
    "message": f"thread_id = {_THREAD}",
    "run": f"thread_id = {_THREAD}",
    "step": f"run_id = {_RUN}",
    "file": "project = ?",
    "vector store": "project = ?",
}

# Index: the one that keeps `id` unique.
BODY: Final[dict[Kind, str]] = {
    kind: f"SELECT body FROM {table} WHERE id = ? AND {CONDITIONS[kind]}" for kind, table in TABLES.items()
}

# The statuses in which a run has its thread to itself (contract section 3.1).
ACTIVE: Final = "('queued', 'in_progress', 'requires_action', 'cancelling')"
# Index: runs_one_active.
_ACTIVE_RUN: Final = f"SELECT id FROM runs WHERE thread_id = ? AND status IN {ACTIVE} AND waiting = 0 LIMIT 1"


def params(project: str, parent_id: str | None) -> tuple[str, ...]:
    """The parameters of a condition: kinds without a parent name the project alone."""
    return (project,) if parent_id is None else (parent_id, project)


def hold_thread(project: str, thread_id: str) -> Op[None]:
    """Keeps the thread as it is until the transaction ends. Raises `Missing`."""
    rows = yield Query(BODY["thread"], (thread_id, project), locks=True, single=True)
    if not rows:
        raise Missing("thread", thread_id)


def active_run(thread_id: str) -> Op[RunId | None]:
    """The run that has the thread to itself; never one that waits for it."""
    rows = yield Query(_ACTIVE_RUN, (thread_id,), single=True)
    return RunId(rows[0][0]) if rows else None
