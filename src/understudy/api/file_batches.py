"""`/vector_stores/{vector_store_id}/file_batches`."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from understudy.api.caller import caller
from understudy.api.lists import answer_rows
from understudy.api.read import path_id, read_body, read_query
from understudy.api.respond import answer_pollable, refusal
from understudy.api.services import Services
from understudy.api.stores import check_chunking, check_file_types, need_live_store, need_store
from understudy.api.vector_store_files import new_file
from understudy.core import errors, refusals
from understudy.core.ids import ProjectId
from understudy.core.vector_stores import chunking
from understudy.ports import NewStoreFile, StoreRefusal
from understudy.wire.vector_stores import CreateFileBatch, ListStoreFilesQuery, VectorStoreFileBatch


class FileBatches:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        services, project = self._services, caller(request).project
        store_id = path_id(request, "vector store")
        files = _files(await read_body(services, request, CreateFileBatch))
        await need_live_store(services, project, store_id)
        await check_file_types(services, project, [file.file_id for file in files])
        batch_id, at = services.new_id("file batch"), services.now()
        made = VectorStoreFileBatch(id=batch_id, created_at=at, vector_store_id=store_id)
        try:
            await services.store.attach_files(project, store_id, files, at=at, batch=made)
        except StoreRefusal as refused:
            raise refusal(refused) from None
        services.wake_indexer()
        return answer_pollable(await self._need_batch(project, store_id, batch_id))

    async def retrieve(self, request: Request) -> Response:
        store_id, batch_id = path_id(request, "vector store"), path_id(request, "file batch")
        return answer_pollable(await self._need_batch(caller(request).project, store_id, batch_id))

    async def cancel(self, request: Request) -> Response:
        """Of a batch that has ended the answer is the batch as it is: clients cancel without asking first."""
        store_id, batch_id = path_id(request, "vector store"), path_id(request, "file batch")
        project = caller(request).project
        batch = await self._services.store.cancel_batch(project, store_id, batch_id)
        return answer_pollable(batch or await self._need_batch(project, store_id, batch_id))

    async def list_files(self, request: Request) -> Response:
        store_id, batch_id = path_id(request, "vector store"), path_id(request, "file batch")
        query, project = read_query(request, ListStoreFilesQuery), caller(request).project
        store = self._services.store
        await self._need_batch(project, store_id, batch_id)
        return await answer_rows(
            query, lambda page: store.store_files_page(project, store_id, page, status=query.filter, batch_id=batch_id)
        )

    async def _need_batch(self, project: ProjectId, store_id: str, batch_id: str) -> VectorStoreFileBatch:
        batch = await self._services.store.batch(project, store_id, batch_id)
        if batch is None:
            await need_store(self._services, project, store_id)
            raise errors.no_such("file batch", batch_id)
        return batch


def _files(body: CreateFileBatch) -> Sequence[NewStoreFile]:
    """Raises `errors.InvalidField` unless exactly one of the two lists is there."""
    if body.file_ids is not None and body.files is not None:
        raise refusals.mutually_exclusive("file_ids", "files")
    if body.file_ids is None and body.files is None:
        raise refusals.missing("file_ids")
    check_chunking(body.chunking_strategy)
    for number, file in enumerate(body.files or ()):
        check_chunking(file.chunking_strategy, f"files[{number}].chunking_strategy")
    if body.files is not None:
        # What is said of all files does not hold for these: so the vendor describes it.
        return [new_file(file) for file in body.files]
    static, attributes = chunking(body.chunking_strategy), body.attributes or {}
    return [NewStoreFile(file_id=file_id, chunking=static, attributes=attributes) for file_id in body.file_ids or ()]
