"""The files that messages bring to their thread, written with the messages in one transaction."""

from msgspec.structs import replace

from understudy.core.attachments import code_files, store_of, with_code_files, with_store
from understudy.ports import Attached, CodeFilesFull, Missing, NewVectorStore
from understudy.store.codec import decode_thread, encode
from understudy.store.file_uses import note_uses
from understudy.store.operations import Op, Query
from understudy.store.scope import BODY
from understudy.store.vector_files import attach_files
from understudy.store.vector_stores import add_vector_store
from understudy.wire.threads import Thread
from understudy.wire.tools import FILE_IDS_MAX, ToolResources

_UPDATE = "UPDATE threads SET body = ? WHERE id = ?"


def attach_to_new_thread(project: str, thread: Thread, attached: Attached) -> Op[None]:
    """The thread's resources name the files, and the store, already. Raises as `attach_to_thread` does."""
    _refuse_overflow(thread.tool_resources)
    if attached.search is not None:
        store_id = store_of(thread.tool_resources)
        if store_id == attached.search.store.id:
            yield from add_vector_store(project, attached.search)
        elif store_id is not None:
            yield from _add_to_store(project, store_id, attached.search)


def attach_to_thread(project: str, thread_id: str, attached: Attached) -> Op[None]:
    """To a thread that is held. Raises `Missing` (a file), `CodeFilesFull`, `VectorStoreExpired`, `VectorStoreFull`."""
    rows = yield Query(BODY["thread"], (thread_id, project), locks=True)
    before = decode_thread(rows[0][0])
    after = with_code_files(before.tool_resources, attached.code)
    _refuse_overflow(after)
    if attached.search is not None:
        after = yield from _search(project, after, attached.search)
    if after != before.tool_resources:
        yield from note_uses(project, thread_id, before.tool_resources, after)
        yield Query(_UPDATE, (encode(replace(before, tool_resources=after)), thread_id))


def _search(project: str, resources: ToolResources, new: NewVectorStore) -> Op[ToolResources]:
    """The files go to the store that the thread has; to a new one if it has none, or if that was deleted."""
    store_id = store_of(resources)
    if store_id is not None:
        try:
            yield from _add_to_store(project, store_id, new)
        except Missing as missing:
            if missing.kind != "vector store":
                raise
        else:
            return resources
    yield from add_vector_store(project, new)
    return with_store(resources, new.store.id)


def _add_to_store(project: str, store_id: str, new: NewVectorStore) -> Op[None]:
    yield from attach_files(project, store_id, new.files, new.store.created_at, None)


def _refuse_overflow(resources: ToolResources) -> None:
    if len(code_files(resources)) > FILE_IDS_MAX:
        raise CodeFilesFull
