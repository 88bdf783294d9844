"""Assistants' rows."""

from collections.abc import Callable

from understudy.ports import Missing, NewVectorStore, StoredAssistant
from understudy.store.codec import decode_assistant, decode_given, encode
from understudy.store.file_uses import forget_uses, note_uses
from understudy.store.operations import Op, Query, Row
from understudy.store.vector_stores import add_vector_store

_INSERT = "INSERT INTO assistants (id, project, given, body) VALUES (?, ?, ?, ?)"
_SELECT = "SELECT body, given FROM assistants WHERE id = ? AND project = ?"
_UPDATE = "UPDATE assistants SET given = ?, body = ? WHERE id = ?"
_DELETE = "DELETE FROM assistants WHERE id = ? AND project = ? RETURNING id"


def add_assistant(project: str, stored: StoredAssistant, store: NewVectorStore | None = None) -> Op[None]:
    """Raises `Missing` (a file)."""
    if store is not None:
        yield from add_vector_store(project, store)
    yield from note_uses(project, stored.assistant.id, None, stored.assistant.tool_resources)
    yield Query(_INSERT, (stored.assistant.id, project, encode(stored.given), encode(stored.assistant)))


def assistant(project: str, assistant_id: str) -> Op[StoredAssistant | None]:
    rows = yield Query(_SELECT, (assistant_id, project))
    return _stored(rows[0]) if rows else None


def update_assistant(
    project: str, assistant_id: str, change: Callable[[StoredAssistant], StoredAssistant]
) -> Op[StoredAssistant]:
    rows = yield Query(_SELECT, (assistant_id, project), locks=True)
    if not rows:
        raise Missing("assistant", assistant_id)
    before = _stored(rows[0])
    changed = change(before)
    resources = before.assistant.tool_resources
    yield from note_uses(project, assistant_id, resources, changed.assistant.tool_resources)
    yield Query(_UPDATE, (encode(changed.given), encode(changed.assistant), assistant_id))
    return changed


def delete_assistant(project: str, assistant_id: str) -> Op[bool]:
    if not (yield Query(_DELETE, (assistant_id, project))):
        return False
    yield from forget_uses(assistant_id)
    return True


def _stored(row: Row) -> StoredAssistant:
    return StoredAssistant(assistant=decode_assistant(row[0]), given=decode_given(row[1]))
