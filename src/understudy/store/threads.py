"""Threads' rows, and the end of everything under one."""
# ruff: noqa: S608 - only constants of this package are put into SQL

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from understudy.core.ids import RunId
from understudy.ports import Attached, Missing, StoredMessage
from understudy.store.attachments import attach_to_new_thread
from understudy.store.codec import decode_thread, encode
from understudy.store.facts import OF_RUN
from understudy.store.file_uses import note_uses
from understudy.store.messages import insert_counted
from understudy.store.operations import Op, Query
from understudy.store.scope import BODY, active_run
from understudy.store.waiting import waiting_runs
from understudy.wire.threads import Thread

_INSERT = "INSERT INTO threads (id, project, messages, body) VALUES (?, ?, ?, ?) RETURNING seq"
_UPDATE = "UPDATE threads SET body = ? WHERE id = ? RETURNING seq"
_ADD_METADATA = "INSERT INTO thread_metadata (project, name, value, thread_seq) VALUES "
_CLEAR_METADATA = "DELETE FROM thread_metadata WHERE thread_seq = ?"
# Written at the assistant's first run on the thread, and found written at the others.
_ADD_ASSISTANT = (
    "INSERT INTO thread_assistants (assistant_id, thread_seq) SELECT CAST(? AS TEXT), seq FROM threads WHERE id = ? "
    "ON CONFLICT DO NOTHING"
)

# In this order: what names its parent goes before the parent. Indexes: runs_by_thread, steps_by_run, the fact's key,
# messages_by_thread, thread_metadata_by_thread, file_uses_by_owner. A thread's rows are deleted in one statement each,
# however many: a reader never sees half of them.
_DELETES: Final = (
    f"DELETE FROM facts WHERE place IN (SELECT f.place FROM runs r JOIN facts f ON {OF_RUN} WHERE r.thread_id = ?)",
    "DELETE FROM steps WHERE run_id IN (SELECT id FROM runs WHERE thread_id = ?)",
    "DELETE FROM thread_assistants WHERE (assistant_id, thread_seq) IN "
    "(SELECT r.assistant_id, t.seq FROM threads t JOIN runs r ON r.thread_id = t.id WHERE t.id = ?)",
    "DELETE FROM runs WHERE thread_id = ?",
    "DELETE FROM messages WHERE thread_id = ?",
    "DELETE FROM thread_metadata WHERE thread_seq = (SELECT seq FROM threads WHERE id = ?)",
    "DELETE FROM file_uses WHERE owner = ?",
    "DELETE FROM threads WHERE id = ?",
)


def add_thread(
    project: str, thread: Thread, messages: Sequence[StoredMessage], attached: Attached | None = None
) -> Op[None]:
    if attached is not None:
        yield from attach_to_new_thread(project, thread, attached)
    columns = (thread.id, project, len(messages), encode(thread))
    if thread.metadata:
        rows = yield Query(_INSERT, columns, single=True)
        yield from _add_metadata(project, rows[0][0], thread.metadata)
    else:
        yield Query(_INSERT, columns, unread=True)
    yield from note_uses(project, thread.id, None, thread.tool_resources)
    yield from insert_counted(thread.id, messages, len(messages))


def _add_metadata(project: str, thread_seq: int, metadata: Mapping[str, str]) -> Op[None]:
    if metadata:
        columns = [column for name, value in metadata.items() for column in (project, name, value, thread_seq)]
        # Names that differ in NUL alone are the same where an engine cannot hold it.
        marks = ", ".join(["(?, ?, ?, ?)"] * len(metadata))
        yield Query(f"{_ADD_METADATA}{marks} ON CONFLICT DO NOTHING", tuple(columns), unread=True)


def note_assistant(thread_id: str, assistant_id: str) -> Op[None]:
    """The assistant has run on this thread."""
    yield Query(_ADD_ASSISTANT, (assistant_id, thread_id), unread=True)


def thread_exists(project: str, thread_id: str) -> Op[bool]:
    return bool((yield Query(BODY["thread"], (thread_id, project))))


def update_thread(project: str, thread_id: str, change: Callable[[Thread], Thread]) -> Op[Thread]:
    rows = yield Query(BODY["thread"], (thread_id, project), locks=True)
    if not rows:
        raise Missing("thread", thread_id)
    before = decode_thread(rows[0][0])
    changed = change(before)
    rows = yield Query(_UPDATE, (encode(changed), thread_id))
    if changed.metadata != before.metadata:
        yield Query(_CLEAR_METADATA, (rows[0][0],), unread=True)
        yield from _add_metadata(project, rows[0][0], changed.metadata)
    yield from note_uses(project, thread_id, before.tool_resources, changed.tool_resources)
    return changed


def delete_thread(project: str, thread_id: str) -> Op[Sequence[RunId] | None]:
    rows = yield Query(BODY["thread"], (thread_id, project), locks=True)
    if not rows:
        return None
    active = yield from active_run(thread_id)
    waiting = yield from waiting_runs(thread_id)
    for delete in _DELETES:
        yield Query(delete, (thread_id,), unread=True)
    return [] if active is None else [active, *waiting]
