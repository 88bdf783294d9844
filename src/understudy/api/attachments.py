"""What a request brings to the tools of the thread or assistant that it makes, or of the thread that it adds to."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from understudy.api.services import Services
from understudy.api.stores import check_chunking, check_file_types, preferred_embedding
from understudy.core import refusals
from understudy.core.attachments import files_to_run, files_to_search, store_of, with_code_files, with_store
from understudy.core.ids import ProjectId
from understudy.core.vector_stores import THREAD_STORE_EXPIRY, chunking, new_vector_store
from understudy.ports import Attached, NewStoreFile, NewVectorStore, StoredMessage
from understudy.wire.threads import Thread
from understudy.wire.tools import NewToolResourcesBody, NewVectorStoreBody, ToolResourcesBody
from understudy.wire.vector_stores import CreateVectorStore, StoreExpiresAfter

Resources: TypeAlias = ToolResourcesBody | NewToolResourcesBody | None


def store_to_make(resources: NewToolResourcesBody | None, path: str = "tool_resources") -> NewVectorStoreBody | None:
    """The store that a request asks for. Raises `errors.InvalidField` where it names one as well."""
    search = None if resources is None else resources.file_search
    if search is None or not search.vector_stores:
        return None
    if search.vector_store_ids:
        raise refusals.mutually_exclusive(f"{path}.file_search.vector_store_ids", f"{path}.file_search.vector_stores")
    body = search.vector_stores[0]
    check_chunking(body.chunking_strategy, f"{path}.file_search.vector_stores[0].chunking_strategy")
    return body


async def new_store(
    services: Services,
    project: ProjectId,
    body: NewVectorStoreBody | None,
    *,
    more: Sequence[str] = (),
    expires_after: StoreExpiresAfter | None = None,
) -> NewVectorStore:
    """A store as the request describes it, with `more` files. Raises `errors.ApiError`."""
    body = body or NewVectorStoreBody()
    named = body.file_ids or []
    await check_file_types(services, project, [*named, *more])
    static = chunking(body.chunking_strategy)
    create = CreateVectorStore(expires_after=expires_after, metadata=body.metadata)
    return NewVectorStore(
        store=new_vector_store(create, store_id=services.new_id("vector store"), at=services.now()),
        embedding=await preferred_embedding(services),
        files=[
            *(NewStoreFile(file_id=file_id, chunking=static) for file_id in named),
            *(NewStoreFile(file_id=file_id, chunking=chunking()) for file_id in more if file_id not in named),
        ],
    )


async def attached_files(services: Services, project: ProjectId, messages: Iterable[StoredMessage]) -> Attached | None:
    """What the messages attach. Raises `errors.ApiError`."""
    made = [stored.message for stored in messages]
    code, search = files_to_run(made), files_to_search(made)
    if not code and not search:
        return None
    store = None
    if search:
        store = await new_store(services, project, None, more=search, expires_after=THREAD_STORE_EXPIRY)
    return Attached(code=code, search=store)


async def with_attached(
    services: Services,
    project: ProjectId,
    thread: Thread,
    messages: Iterable[StoredMessage],
    store: NewVectorStoreBody | None,
) -> tuple[Thread, Attached]:
    """A new thread with what its first messages attach, and with the store that the request asks for."""
    made = [stored.message for stored in messages]
    code, search = files_to_run(made), files_to_search(made)
    resources, new = with_code_files(thread.tool_resources, code), None
    if search or store is not None:
        new = await new_store(services, project, store, more=search, expires_after=THREAD_STORE_EXPIRY)
        resources = with_store(resources, store_of(resources) or new.store.id)
    return replace(thread, tool_resources=resources), Attached(code=code, search=new)
