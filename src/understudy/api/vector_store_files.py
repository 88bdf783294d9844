"""`/vector_stores/{vector_store_id}/files`."""

from starlette.requests import Request
from starlette.responses import Response

from understudy.api.caller import caller
from understudy.api.lists import answer_rows
from understudy.api.read import path_id, read_body, read_query
from understudy.api.respond import answer, answer_pollable, refusal
from understudy.api.services import Services
from understudy.api.stores import check_chunking, check_file_types, need_live_store, need_store
from understudy.core import errors
from understudy.core.ids import ProjectId
from understudy.core.vector_stores import chunking
from understudy.ports import Missing, NewStoreFile, StoreRefusal
from understudy.wire.base import Deleted
from understudy.wire.vector_stores import (
    CreateStoreFile,
    FileContentPage,
    FileText,
    ListStoreFilesQuery,
    UpdateStoreFile,
    VectorStoreFile,
)


class VectorStoreFiles:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        """A file that is attached already is indexed anew; what was indexed before is found until that is done."""
        services, project = self._services, caller(request).project
        store_id = path_id(request, "vector store")
        body = await read_body(services, request, CreateStoreFile)
        check_chunking(body.chunking_strategy)
        await need_live_store(services, project, store_id)
        await check_file_types(services, project, [body.file_id])
        try:
            (attached,) = await services.store.attach_files(project, store_id, [new_file(body)], at=services.now())
        except StoreRefusal as refused:
            raise refusal(refused) from None
        services.wake_indexer()
        return answer_pollable(attached)

    async def list(self, request: Request) -> Response:
        store_id, project = path_id(request, "vector store"), caller(request).project
        query = read_query(request, ListStoreFilesQuery)
        store = self._services.store
        await need_store(self._services, project, store_id)
        return await answer_rows(
            query, lambda page: store.store_files_page(project, store_id, page, status=query.filter, batch_id=None)
        )

    async def retrieve(self, request: Request) -> Response:
        return answer_pollable(await self._file(request))

    async def update(self, request: Request) -> Response:
        """`null` takes the attributes away."""
        store_id, file_id = path_id(request, "vector store"), path_id(request, "file")
        project = caller(request).project
        body = await read_body(self._services, request, UpdateStoreFile)
        try:
            labelled = await self._services.store.set_attributes(project, store_id, file_id, body.attributes or {})
        except Missing as missing:
            raise self._missing(missing, store_id) from None
        return answer_pollable(labelled)

    async def delete(self, request: Request) -> Response:
        """It leaves the store; the file itself stays."""
        store_id, file_id = path_id(request, "vector store"), path_id(request, "file")
        project = caller(request).project
        if not await self._services.store.detach_file(project, store_id, file_id):
            await self._need_file(project, store_id, file_id)
        return answer(Deleted(id=file_id, object="vector_store.file.deleted"))

    async def content(self, request: Request) -> Response:
        """The file's passages in their order. They overlap as its chunking strategy says."""
        file = await self._file(request)
        texts = await self._services.store.file_texts(file.vector_store_id, file.id)
        return answer(FileContentPage(data=[FileText(text=text) for text in texts]))

    async def _file(self, request: Request) -> VectorStoreFile:
        store_id, file_id = path_id(request, "vector store"), path_id(request, "file")
        return await self._need_file(caller(request).project, store_id, file_id)

    async def _need_file(self, project: ProjectId, store_id: str, file_id: str) -> VectorStoreFile:
        file = await self._services.store.store_file(project, store_id, file_id)
        if file is None:
            await need_store(self._services, project, store_id)
            raise errors.no_such_store_file(file_id, store_id)
        return file

    def _missing(self, missing: Missing, store_id: str) -> errors.NotFound:
        if missing.kind == "file":
            return errors.no_such_store_file(missing.id, store_id)
        return errors.no_such(missing.kind, missing.id)


def new_file(body: CreateStoreFile) -> NewStoreFile:
    return NewStoreFile(
        file_id=body.file_id, chunking=chunking(body.chunking_strategy), attributes=body.attributes or {}
    )
