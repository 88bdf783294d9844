"""Which assistants and threads have a file in their code interpreter's list: what a file's end must find."""

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from understudy.ports import Missing
from understudy.store.codec import decode_assistant, decode_thread, encode
from understudy.store.operations import Op, Query
from understudy.wire.tools import CodeInterpreterResources, ToolResources

# One file at a time: there are at most 20. A file of another project is none.
_ADD = (
    "INSERT INTO file_uses (file_id, owner) SELECT id, CAST(? AS TEXT) FROM files WHERE id = ? AND project = ? "
    "ON CONFLICT DO NOTHING RETURNING file_id"
)
_REMOVE = "DELETE FROM file_uses WHERE file_id = ? AND owner = ?"
# Index: file_uses_by_owner.
_REMOVE_ALL = "DELETE FROM file_uses WHERE owner = ?"
# Index: the primary key.
_OWNERS = "DELETE FROM file_uses WHERE file_id = ? RETURNING owner"

_ASSISTANT = "SELECT body FROM assistants WHERE id = ?"
_THREAD = "SELECT body FROM threads WHERE id = ?"
_UPDATE_ASSISTANT = "UPDATE assistants SET body = ? WHERE id = ?"
_UPDATE_THREAD = "UPDATE threads SET body = ? WHERE id = ?"


def note_uses(project: str, owner: str, before: ToolResources | None, after: ToolResources) -> Op[None]:
    """The owner's list becomes that of `after`; `before` is `None` for a new owner. Raises `Missing` (a file)."""
    old = [] if before is None else used_files(before)
    new = used_files(after)
    if old == new:
        return
    for file_id in set(old).difference(new):
        yield Query(_REMOVE, (file_id, owner))
    for file_id in dict.fromkeys(new):
        if file_id not in old and not (yield Query(_ADD, (owner, file_id, project))):
            raise Missing("file", file_id)


def forget_uses(owner: str) -> Op[None]:
    """The owner is deleted."""
    yield Query(_REMOVE_ALL, (owner,))


def leave_lists(file_id: str) -> Op[None]:
    """The file is deleted: no list has it any more."""
    for (owner,) in (yield Query(_OWNERS, (file_id,))):
        rows = yield Query(_ASSISTANT, (owner,), locks=True)
        if rows:
            assistant = decode_assistant(rows[0][0])
            left = replace(assistant, tool_resources=_without(assistant.tool_resources, file_id))
            yield Query(_UPDATE_ASSISTANT, (encode(left), owner))
            continue
        rows = yield Query(_THREAD, (owner,), locks=True)
        if rows:
            thread = decode_thread(rows[0][0])
            kept = replace(thread, tool_resources=_without(thread.tool_resources, file_id))
            yield Query(_UPDATE_THREAD, (encode(kept), owner))


def used_files(resources: ToolResources) -> Sequence[str]:
    return [] if resources.code_interpreter is UNSET else resources.code_interpreter.file_ids


def _without(resources: ToolResources, file_id: str) -> ToolResources:
    left = [one for one in used_files(resources) if one != file_id]
    return replace(resources, code_interpreter=CodeInterpreterResources(file_ids=left))
