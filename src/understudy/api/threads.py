"""`/threads`."""

from starlette.requests import Request
from starlette.responses import Response

from understudy.api.attachments import store_to_make, with_attached
from understudy.api.caller import caller
from understudy.api.lists import answer_rows
from understudy.api.read import path_id, read_body, read_query
from understudy.api.references import check_references
from understudy.api.respond import answer, found, refusal
from understudy.api.services import Services
from understudy.core import errors
from understudy.core.objects import changed_thread, new_thread
from understudy.ports import Missing, StoreRefusal, ThreadFilter
from understudy.wire.base import Deleted
from understudy.wire.lists import ListThreadsQuery
from understudy.wire.threads import CreateThread, UpdateThread


class Threads:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        services = self._services
        body = await read_body(services, request, CreateThread, optional=True)
        project = caller(request).project
        await check_references(services, project, body.tool_resources, messages=body.messages or ())
        store = store_to_make(body.tool_resources)
        thread = new_thread(body, thread_id=services.new_id("thread"), at=services.now())
        messages = [services.message(message, thread.id) for message in body.messages or ()]
        thread, attached = await with_attached(services, project, thread, messages, store)
        try:
            await services.store.add_thread(project, thread, messages, attached=attached)
        except StoreRefusal as error:
            raise refusal(error, adding="message") from None
        services.files_attached(attached)
        return answer(thread)

    async def list(self, request: Request) -> Response:
        """What the vendor's service never had: the project's threads, narrowed by metadata and by assistant."""
        query = read_query(request, ListThreadsQuery)
        store, project = self._services.store, caller(request).project
        wanted = ThreadFilter(metadata=query.metadata, assistant_id=query.assistant_id)
        return await answer_rows(query, lambda page: store.threads(project, page, wanted))

    async def retrieve(self, request: Request) -> Response:
        thread_id = path_id(request, "thread")
        body = await self._services.store.body("thread", caller(request).project, None, thread_id)
        return answer(found(body, "thread", thread_id))

    async def update(self, request: Request) -> Response:
        thread_id = path_id(request, "thread")
        body = await read_body(self._services, request, UpdateThread, optional=True)
        await check_references(self._services, caller(request).project, body.tool_resources)
        try:
            thread = await self._services.store.update_thread(
                caller(request).project, thread_id, lambda before: changed_thread(before, body)
            )
        except Missing as missing:
            raise errors.no_such(missing.kind, missing.id) from None
        return answer(thread)

    async def delete(self, request: Request) -> Response:
        """Everything under the thread goes with it; a run that is being worked on is let go of."""
        thread_id = path_id(request, "thread")
        stopped = await self._services.store.delete_thread(caller(request).project, thread_id)
        if stopped is None:
            raise errors.no_such("thread", thread_id)
        for run_id in stopped:
            self._services.bus.interrupt(run_id)
            self._services.bus.retire(run_id)
        await self._services.tools.leave(caller(request).project, thread_id)
        return answer(Deleted(id=thread_id, object="thread.deleted"))
