"""`/assistants`."""

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from understudy.api.attachments import new_store, store_to_make
from understudy.api.caller import caller
from understudy.api.lists import answer_page
from understudy.api.read import path_id, read_body, read_query
from understudy.api.references import check_references
from understudy.api.respond import answer, found, refusal
from understudy.api.services import Services
from understudy.core import errors
from understudy.core.attachments import with_store
from understudy.core.objects import changed_assistant, given, new_assistant
from understudy.ports import Attached, Given, Missing, StoredAssistant, StoreRefusal
from understudy.wire.assistants import CreateAssistant, UpdateAssistant
from understudy.wire.base import Deleted
from understudy.wire.lists import ListQuery


class Assistants:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        services = self._services
        body = await read_body(services, request, CreateAssistant)
        await check_references(services, caller(request).project, body.tool_resources)
        store = None
        assistant = new_assistant(body, assistant_id=services.new_id("assistant"), at=services.now())
        if (asked := store_to_make(body.tool_resources)) is not None:
            store = await new_store(services, caller(request).project, asked)
            assistant = replace(assistant, tool_resources=with_store(assistant.tool_resources, store.store.id))
        stored = StoredAssistant(assistant=assistant, given=Given(temperature=body.temperature, top_p=body.top_p))
        try:
            await services.store.add_assistant(caller(request).project, stored, store=store)
        except StoreRefusal as refused:  # a file is not there, or was deleted meanwhile
            raise refusal(refused) from None
        services.files_attached(Attached(search=store))
        return answer(assistant)

    async def list(self, request: Request) -> Response:
        query = read_query(request, ListQuery)
        return await answer_page(self._services.store, "assistant", caller(request).project, None, query)

    async def retrieve(self, request: Request) -> Response:
        assistant_id = path_id(request, "assistant")
        body = await self._services.store.body("assistant", caller(request).project, None, assistant_id)
        return answer(found(body, "assistant", assistant_id))

    async def update(self, request: Request) -> Response:
        assistant_id = path_id(request, "assistant")
        body = await read_body(self._services, request, UpdateAssistant, optional=True)
        await check_references(self._services, caller(request).project, body.tool_resources)

        def change(before: StoredAssistant) -> StoredAssistant:
            sampling = Given(
                temperature=given(body.temperature, otherwise=before.given.temperature),
                top_p=given(body.top_p, otherwise=before.given.top_p),
            )
            return replace(before, assistant=changed_assistant(before.assistant, body), given=sampling)

        try:
            stored = await self._services.store.update_assistant(caller(request).project, assistant_id, change)
        except Missing as missing:
            raise errors.no_such(missing.kind, missing.id) from None
        return answer(stored.assistant)

    async def delete(self, request: Request) -> Response:
        assistant_id = path_id(request, "assistant")
        if not await self._services.store.delete_assistant(caller(request).project, assistant_id):
            raise errors.no_such("assistant", assistant_id)
        return answer(Deleted(id=assistant_id, object="assistant.deleted"))
