"""The line in front of a busy thread: runs that wait for it, and messages that only later runs read.

Whoever joins the line or moves it holds the thread, so there is always an active run where another one waits.
"""

from collections.abc import Sequence

from understudy.core.ids import RunId
from understudy.core.limits import WAITING_RUNS_PER_THREAD_MAX
from understudy.store.operations import SEQ_MAX, Op, Query

# Index: runs_by_thread.
_NEWEST_RUN = "SELECT MAX(seq) FROM runs WHERE thread_id = ?"
# Index: runs_waiting.
_WAITING = "SELECT id, seq FROM runs WHERE thread_id = ? AND waiting = 1 ORDER BY seq LIMIT ?"
# Whether anything waits at all: a run, or a message behind one. Indexes: runs_waiting, messages_behind.
_NEXT = (
    "SELECT (SELECT MIN(seq) FROM runs WHERE thread_id = ? AND waiting = 1), "
    "EXISTS (SELECT 1 FROM messages WHERE thread_id = ? AND behind IS NOT NULL)"
)
_RELEASE = "UPDATE runs SET waiting = 0 WHERE thread_id = ? AND seq = ? RETURNING id"
# Index: messages_behind; messages_by_thread.
_TAKE_TURNS = (
    "UPDATE messages SET behind = NULL, turn = (SELECT MAX(seq) FROM messages WHERE thread_id = ?) "
    "WHERE thread_id = ? AND behind < ?"
)


def newest_run(thread_id: str) -> Op[int]:
    """The number of the thread's newest run: what is added now is read by runs with a higher one. 0: no run yet."""
    rows = yield Query(_NEWEST_RUN, (thread_id,), single=True)
    return rows[0][0] or 0


def waiting_runs(thread_id: str) -> Op[Sequence[RunId]]:
    rows = yield Query(_WAITING, (thread_id, WAITING_RUNS_PER_THREAD_MAX))
    return [RunId(row[0]) for row in rows]


def move_up(thread_id: str) -> Op[RunId | None]:
    """The thread's active run has ended: the next one has its turn, and the messages that were added before it."""
    ((next_run, messages),) = yield Query(_NEXT, (thread_id, thread_id), single=True)
    if messages:
        number = SEQ_MAX if next_run is None else next_run
        yield Query(_TAKE_TURNS, (thread_id, thread_id, number), unread=True)
    if next_run is None:
        return None
    rows = yield Query(_RELEASE, (thread_id, next_run), single=True)
    return RunId(rows[0][0])
