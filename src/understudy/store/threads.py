"""Threads' rows, and the end of everything under one."""

from collections.abc import Callable, Sequence
from typing import Final

from understudy.core.ids import RunId
from understudy.ports import Missing, StoredMessage
from understudy.store.codec import decode_thread, encode
from understudy.store.messages import insert_messages
from understudy.store.operations import Op, Query
from understudy.store.scope import BODY, active_run
from understudy.store.waiting import waiting_runs
from understudy.wire.threads import Thread

_INSERT = "INSERT INTO threads (id, project, messages, body) VALUES (?, ?, 0, ?)"
_UPDATE = "UPDATE threads SET body = ? WHERE id = ?"

# In this order: what names its parent goes before the parent. Indexes: runs_by_thread, steps_by_run, the fact's key,
# messages_by_thread. A thread's rows are deleted in one statement each, however many: a reader never sees half of them.
_DELETES: Final = (
    "DELETE FROM facts WHERE run_id IN (SELECT id FROM runs WHERE thread_id = ?)",
    "DELETE FROM steps WHERE run_id IN (SELECT id FROM runs WHERE thread_id = ?)",
    "DELETE FROM runs WHERE thread_id = ?",
    "DELETE FROM messages WHERE thread_id = ?",
    "DELETE FROM threads WHERE id = ?",
)


def add_thread(project: str, thread: Thread, messages: Sequence[StoredMessage]) -> Op[None]:
    yield Query(_INSERT, (thread.id, project, encode(thread)))
    yield from insert_messages(thread.id, messages)


def thread_exists(project: str, thread_id: str) -> Op[bool]:
    return bool((yield Query(BODY["thread"], (thread_id, project))))


def update_thread(project: str, thread_id: str, change: Callable[[Thread], Thread]) -> Op[Thread]:
    rows = yield Query(BODY["thread"], (thread_id, project), locks=True)
    if not rows:
        raise Missing("thread", thread_id)
    changed = change(decode_thread(rows[0][0]))
    yield Query(_UPDATE, (encode(changed), thread_id))
    return changed


def delete_thread(project: str, thread_id: str) -> Op[Sequence[RunId] | None]:
    rows = yield Query(BODY["thread"], (thread_id, project), locks=True)
    if not rows:
        return None
    active = yield from active_run(thread_id)
    waiting = yield from waiting_runs(thread_id)
    for delete in _DELETES:
        yield Query(delete, (thread_id,))
    return [] if active is None else [active, *waiting]
