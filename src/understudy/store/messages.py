"""Messages' rows, and the count of them that each thread's row keeps."""

from collections.abc import Callable, Sequence

from understudy.core.limits import MESSAGES_PER_THREAD_MAX
from understudy.ports import Attached, Missing, StoredMessage, ThreadBusy, ThreadFull
from understudy.store.attachments import attach_to_thread
from understudy.store.codec import decode_message, encode
from understudy.store.operations import SEQ_MAX, Op, Query, Row
from understudy.store.scope import BODY, active_run, hold_thread
from understudy.store.waiting import newest_run
from understudy.wire.messages import Message

_INSERT = "INSERT INTO messages (id, thread_id, run_id, status, tokens, body, behind) VALUES (?, ?, ?, ?, ?, ?, ?)"
_UPDATE_BODY = "UPDATE messages SET body = ? WHERE id = ?"
_UPDATE_ALL = "UPDATE messages SET status = ?, tokens = ?, body = ? WHERE id = ?"
_DELETE = "DELETE FROM messages WHERE id = ? AND thread_id = ? RETURNING seq"
# What stood behind a deleted message stands behind the one before it: its number may be given to another one.
# Indexes: messages_in_turn, messages_by_thread.
_MOVE_TURNS = (
    "UPDATE messages SET turn = (SELECT MAX(seq) FROM messages WHERE thread_id = ? AND seq < ?) "
    "WHERE thread_id = ? AND turn = ?"
)

# Counting 100,000 rows at each insert would cost more than the insert: the thread's row keeps the number.
_COUNT = "UPDATE threads SET messages = messages + ? WHERE id = ? RETURNING messages"
_COUNT_ONE = "UPDATE threads SET messages = messages + 1 WHERE id = ? AND project = ? RETURNING messages"

# Index: messages_by_thread.
_RECENT = (
    "SELECT body, tokens, seq, turn FROM messages WHERE thread_id = ? AND seq < ? AND status <> 'in_progress' "
    "AND behind IS NULL AND turn IS NULL ORDER BY seq DESC LIMIT ?"
)
# Index: messages_in_turn.
_RECENT_IN_TURN = (
    "SELECT body, tokens, seq, turn FROM messages WHERE thread_id = ? AND turn IS NOT NULL AND (turn, seq) < (?, ?) "
    "ORDER BY turn DESC, seq DESC LIMIT ?"
)
# Index: messages_by_thread.
_FIRST = (
    "SELECT body, tokens, seq, turn FROM messages WHERE thread_id = ? AND status <> 'in_progress' "
    "AND behind IS NULL ORDER BY seq LIMIT ?"
)


def add_message(project: str, stored: StoredMessage, queue: bool, attached: Attached | None = None) -> Op[None]:
    thread_id = stored.message.thread_id
    # First the count, for it locks the thread: no run can begin between the look for one and the insert.
    rows = yield Query(_COUNT_ONE, (thread_id, project), single=True)
    if not rows:
        raise Missing("thread", thread_id)
    active = yield from active_run(thread_id)
    if active is not None and not queue:
        raise ThreadBusy(thread_id, active)
    _refuse_overflow(thread_id, rows[0][0])
    yield _insert(stored, None if active is None else (yield from newest_run(thread_id)))
    if attached is not None:
        yield from attach_to_thread(project, thread_id, attached)


def insert_messages(thread_id: str, messages: Sequence[StoredMessage], behind: int | None = None) -> Op[None]:
    """Adds to a thread that this transaction holds, whatever runs on it. Raises `ThreadFull`.

    Runs up to the one with the number `behind` do not read them.
    """
    if messages:
        rows = yield Query(_COUNT, (len(messages), thread_id), single=True)
        yield from insert_counted(thread_id, messages, rows[0][0], behind)


def insert_counted(
    thread_id: str, messages: Sequence[StoredMessage], count: int, behind: int | None = None
) -> Op[None]:
    """The same for a thread whose row has the new `count` already."""
    _refuse_overflow(thread_id, count)
    for stored in messages:
        yield _insert(stored, behind)


def insert_run_message(message: Message, tokens: int) -> Op[None]:
    """A run's own message goes in even when the thread is full: the run must be able to end."""
    yield Query(_COUNT, (1, message.thread_id), unread=True)
    yield _insert(StoredMessage(message=message, tokens=tokens))


def replace_run_message(message: Message, tokens: int) -> Op[None]:
    """A message that a client deleted while the run wrote it stays deleted."""
    yield Query(_UPDATE_ALL, (message.status, tokens, encode(message), message.id), unread=True)


def discard_message(thread_id: str, message_id: str) -> Op[None]:
    yield from _delete(thread_id, message_id)


def update_message(project: str, thread_id: str, message_id: str, change: Callable[[Message], Message]) -> Op[Message]:
    rows = yield Query(BODY["message"], (message_id, thread_id, project), locks=True)
    if not rows:
        raise Missing("message", message_id)
    changed = change(decode_message(rows[0][0]))
    yield Query(_UPDATE_BODY, (encode(changed), message_id), unread=True)
    return changed


def delete_message(project: str, thread_id: str, message_id: str) -> Op[bool]:
    try:
        yield from hold_thread(project, thread_id)
    except Missing:
        return False
    return (yield from _delete(thread_id, message_id))


def _delete(thread_id: str, message_id: str) -> Op[bool]:
    rows = yield Query(_DELETE, (message_id, thread_id))
    if not rows:
        return False
    seq: int = rows[0][0]
    yield Query(_MOVE_TURNS, (thread_id, seq, thread_id, seq), unread=True)
    yield Query(_COUNT, (-1, thread_id), unread=True)
    return True


def recent_messages(thread_id: str, before: StoredMessage | None, limit: int) -> Op[Sequence[StoredMessage]]:
    if before is None:
        added_before, in_turn_before = SEQ_MAX, (SEQ_MAX, 0)
    elif before.turn is None:
        added_before, in_turn_before = before.seq, (before.seq, 0)
    else:  # what it stands behind comes before it too
        added_before, in_turn_before = before.turn + 1, (before.turn, before.seq)
    rows = list((yield Query(_RECENT, (thread_id, added_before, limit))))
    rows += yield Query(_RECENT_IN_TURN, (thread_id, *in_turn_before, limit))
    return sorted((_stored(row) for row in rows), key=_place, reverse=True)[:limit]


def first_messages(thread_id: str, limit: int) -> Op[Sequence[StoredMessage]]:
    rows = yield Query(_FIRST, (thread_id, limit))
    return [_stored(row) for row in rows]


def _refuse_overflow(thread_id: str, count: int) -> None:
    if count > MESSAGES_PER_THREAD_MAX:
        raise ThreadFull(thread_id)


def _insert(stored: StoredMessage, behind: int | None = None) -> Query:
    m = stored.message
    columns = (m.id, m.thread_id, m.run_id, m.status, stored.tokens, encode(m), behind)
    return Query(_INSERT, columns, unread=True)


def _place(stored: StoredMessage) -> tuple[int, bool, int]:
    """Sorts as a model is to read."""
    return (stored.seq, False, 0) if stored.turn is None else (stored.turn, True, stored.seq)


def _stored(row: Row) -> StoredMessage:
    return StoredMessage(message=decode_message(row[0]), tokens=row[1], seq=row[2], turn=row[3])
