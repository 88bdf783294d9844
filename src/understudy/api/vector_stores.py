"""`/vector_stores`, and the search in one."""

from starlette.requests import Request
from starlette.responses import Response

from understudy.api.caller import caller
from understudy.api.lists import answer_rows
from understudy.api.read import path_id, read_body, read_query
from understudy.api.respond import answer, refusal
from understudy.api.services import Services
from understudy.api.stores import (
    check_chunking,
    check_file_types,
    need_live_store,
    need_store,
    preferred_embedding,
)
from understudy.core import errors
from understudy.core.search_query import rewritten
from understudy.core.vector_stores import changed_vector_store, chunking, new_vector_store
from understudy.ports import (
    Attached,
    EmbeddingFailed,
    NewStoreFile,
    NewVectorStore,
    Passage,
    SearchRefused,
    SearchRequest,
    StoreRefusal,
)
from understudy.wire.base import Deleted
from understudy.wire.lists import ListQuery
from understudy.wire.vector_stores import (
    CreateVectorStore,
    FileText,
    SearchPage,
    SearchRanking,
    SearchResult,
    SearchVectorStore,
    UpdateVectorStore,
)

RESULTS = 10  # when the request does not say how many


class VectorStores:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        services, project = self._services, caller(request).project
        body = await read_body(services, request, CreateVectorStore, optional=True)
        check_chunking(body.chunking_strategy)
        file_ids = body.file_ids or []
        await check_file_types(services, project, file_ids)
        static = chunking(body.chunking_strategy)
        new = NewVectorStore(
            store=new_vector_store(body, store_id=services.new_id("vector store"), at=services.now()),
            embedding=await preferred_embedding(services),
            files=[NewStoreFile(file_id=file_id, chunking=static) for file_id in file_ids],
        )
        try:
            store = await services.store.add_vector_store(project, new)
        except StoreRefusal as refused:
            raise refusal(refused) from None
        services.files_attached(Attached(search=new))
        return answer(store)

    async def list(self, request: Request) -> Response:
        query = read_query(request, ListQuery)
        store, project = self._services.store, caller(request).project
        return await answer_rows(query, lambda page: store.vector_stores_page(project, page))

    async def retrieve(self, request: Request) -> Response:
        store_id = path_id(request, "vector store")
        return answer((await need_store(self._services, caller(request).project, store_id)).store)

    async def update(self, request: Request) -> Response:
        store_id = path_id(request, "vector store")
        body = await read_body(self._services, request, UpdateVectorStore, optional=True)
        try:
            changed = await self._services.store.update_vector_store(
                caller(request).project, store_id, lambda before: changed_vector_store(before, body)
            )
        except StoreRefusal as refused:
            raise refusal(refused) from None
        return answer(changed)

    async def delete(self, request: Request) -> Response:
        """The files themselves stay."""
        store_id = path_id(request, "vector store")
        if not await self._services.store.delete_vector_store(caller(request).project, store_id):
            raise errors.no_such("vector store", store_id)
        return answer(Deleted(id=store_id, object="vector_store.deleted"))

    async def search(self, request: Request) -> Response:
        services = self._services
        store_id = path_id(request, "vector store")
        body = await read_body(services, request, SearchVectorStore)
        await need_live_store(services, caller(request).project, store_id)
        await services.store.use_vector_stores([store_id], services.now())
        queries = [body.query] if isinstance(body.query, str) else body.query
        if body.rewrite_query:
            queries = [rewritten(query) for query in queries]
        ranking = body.ranking_options or SearchRanking()
        wanted = SearchRequest(
            queries=queries,
            limit=body.max_num_results or RESULTS,
            score_threshold=ranking.score_threshold or 0.0,
            ranker=ranking.ranker or "auto",
            where=body.filters,
        )
        try:
            passages = await services.search.search([store_id], wanted)
        except EmbeddingFailed as failed:
            raise (errors.Unavailable if failed.retryable else errors.BadRequest)(failed.message) from failed
        except SearchRefused as refused:
            raise errors.BadRequest(refused.message, param=refused.param) from None
        return answer(SearchPage(search_query=queries, data=[_result(passage) for passage in passages]))


def _result(passage: Passage) -> SearchResult:
    return SearchResult(
        file_id=passage.file_id,
        filename=passage.file_name,
        score=passage.score,
        attributes=passage.attributes,
        content=[FileText(text=passage.text)],
    )
