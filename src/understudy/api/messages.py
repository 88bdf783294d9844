"""`/threads/{thread_id}/messages`."""

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from understudy.api.attachments import attached_files
from understudy.api.busy import may_queue
from understudy.api.caller import caller
from understudy.api.lists import answer_page
from understudy.api.read import path_id, read_body, read_query
from understudy.api.references import check_references
from understudy.api.respond import answer, found, refusal
from understudy.api.services import Services
from understudy.core import errors
from understudy.core.ids import ProjectId
from understudy.core.objects import given
from understudy.ports import Missing, StoreRefusal
from understudy.wire.base import Deleted
from understudy.wire.lists import ListMessagesQuery
from understudy.wire.messages import CreateMessage, UpdateMessage


class Messages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        thread_id = path_id(request, "thread")
        queue = may_queue(self._services, request)
        body = await read_body(self._services, request, CreateMessage)
        project = caller(request).project
        await self._need_thread(project, thread_id)
        await check_references(self._services, project, messages=[body])
        stored = self._services.message(body, thread_id)
        attached = await attached_files(self._services, project, [stored])
        try:
            await self._services.store.add_message(project, stored, queue=queue, attached=attached)
        except StoreRefusal as error:
            raise refusal(error, adding="message") from None
        self._services.files_attached(attached)
        return answer(stored.message)

    async def list(self, request: Request) -> Response:
        thread_id = path_id(request, "thread")
        query = read_query(request, ListMessagesQuery)
        project = caller(request).project
        await self._need_thread(project, thread_id)
        return await answer_page(self._services.store, "message", project, thread_id, query, run_id=query.run_id)

    async def retrieve(self, request: Request) -> Response:
        thread_id, message_id = path_id(request, "thread"), path_id(request, "message")
        project = caller(request).project
        body = await self._services.store.body("message", project, thread_id, message_id)
        if body is None:
            await self._need_thread(project, thread_id)
        return answer(found(body, "message", message_id))

    async def update(self, request: Request) -> Response:
        thread_id, message_id = path_id(request, "thread"), path_id(request, "message")
        body = await read_body(self._services, request, UpdateMessage, optional=True)
        project = caller(request).project
        try:
            message = await self._services.store.update_message(
                project,
                thread_id,
                message_id,
                lambda before: replace(before, metadata=given(body.metadata, otherwise=before.metadata)),
            )
        except Missing:
            await self._need_thread(project, thread_id)
            raise errors.no_such("message", message_id) from None
        return answer(message)

    async def delete(self, request: Request) -> Response:
        """Allowed while a run is active: nobody has reported that the vendor refuses it."""
        thread_id, message_id = path_id(request, "thread"), path_id(request, "message")
        project = caller(request).project
        if not await self._services.store.delete_message(project, thread_id, message_id):
            await self._need_thread(project, thread_id)
            raise errors.no_such("message", message_id)
        return answer(Deleted(id=message_id, object="thread.message.deleted"))

    async def _need_thread(self, project: ProjectId, thread_id: str) -> None:
        if not await self._services.store.thread_exists(project, thread_id):
            raise errors.no_such("thread", thread_id)
