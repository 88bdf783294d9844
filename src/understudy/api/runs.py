"""`/threads/runs`, `/threads/{thread_id}/runs` and what is done to a run."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from understudy.api.attachments import attached_files, store_to_make, with_attached
from understudy.api.busy import may_queue
from understudy.api.caller import caller
from understudy.api.lists import answer_page
from understudy.api.read import path_id, read_body, read_query
from understudy.api.references import check_references
from understudy.api.respond import answer_run, found, refusal
from understudy.api.services import Services
from understudy.api.sse import EventStream
from understudy.core import errors, refusals
from understudy.core.chat.offers import built_in_kinds
from understudy.core.ids import ProjectId, RunId
from understudy.core.objects import new_thread
from understudy.core.run.defaults import changed_run, new_run, run_settings
from understudy.core.run.machine import TERMINAL
from understudy.core.run.state import RunSettings
from understudy.engine.frames import DONE, sse_object
from understudy.engine.including import IncludingStream
from understudy.engine.position import Position
from understudy.engine.runs import Moved
from understudy.engine.stream import START, RunStream
from understudy.ports import Missing, StoreRefusal
from understudy.wire.lists import IncludeQuery, ListQuery, RunQuery
from understudy.wire.runs import CreateRun, CreateThreadAndRun, Run, SubmitToolOutputs, UpdateRun
from understudy.wire.threads import CreateThread, Thread
from understudy.wire.tools import NewVectorStoreBody


class RunRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        services, project = self._services, caller(request).project
        thread_id = path_id(request, "thread")
        include = read_query(request, IncludeQuery).include
        queue = may_queue(services, request)
        body = await read_body(services, request, CreateRun)
        if not await services.store.thread_exists(project, thread_id):
            raise errors.no_such("thread", thread_id)
        await check_references(services, project, messages=body.additional_messages or ())
        run, settings = await self._new_run(project, body, thread_id)
        if built_in_kinds(settings):
            shown = await services.store.body("thread", project, None, thread_id)
            thread = msgspec.json.decode(found(shown, "thread", thread_id), type=Thread)
            await services.tools.check(project, settings, thread.tool_resources)
        messages = tuple(services.message(message, thread_id) for message in body.additional_messages or ())
        attached = await attached_files(services, project, messages)
        try:
            moved = await services.runs.start(project, run, settings, messages=messages, attached=attached, queue=queue)
        except StoreRefusal as error:
            raise refusal(error, adding="run") from None
        services.files_attached(attached)
        return self._answer(moved, stream=body.stream, include=bool(include))

    async def create_with_thread(self, request: Request) -> Response:
        services, project = self._services, caller(request).project
        body = await read_body(services, request, CreateThreadAndRun)
        new = body.thread or CreateThread()
        await check_references(services, project, body.tool_resources, new.tool_resources, messages=new.messages or ())
        store = _store_to_make(body)
        thread = new_thread(
            new, thread_id=services.new_id("thread"), at=services.now(), run_resources=body.tool_resources
        )
        run, settings = await self._new_run(project, body, thread.id)
        await services.tools.check(project, settings, thread.tool_resources)
        messages = tuple(services.message(message, thread.id) for message in new.messages or ())
        thread, attached = await with_attached(services, project, thread, messages, store)
        try:
            moved = await services.runs.start(
                project, run, settings, messages=messages, attached=attached, thread=thread
            )
        except StoreRefusal as error:
            raise refusal(error, adding="run") from None
        services.files_attached(attached)
        return self._answer(moved, stream=body.stream, first=sse_object("thread.created", thread))

    async def list(self, request: Request) -> Response:
        thread_id, project = path_id(request, "thread"), caller(request).project
        query = read_query(request, ListQuery)
        if not await self._services.store.thread_exists(project, thread_id):
            raise errors.no_such("thread", thread_id)
        return await answer_page(self._services.store, "run", project, thread_id, query)

    async def retrieve(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        project = caller(request).project
        if wait := read_query(request, RunQuery).wait:
            await self._services.runs.until_rest(project, thread_id, run_id, seconds=wait)
        body = await self._services.store.body("run", project, thread_id, run_id)
        if body is None:
            await self._services.runs.load(project, thread_id, run_id)
        return answer_run(found(body, "run", run_id))

    async def stream(self, request: Request) -> Response:
        """The run's events from their beginning, or from behind the one that `Last-Event-ID` names."""
        services = self._services
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        last = request.headers.get("last-event-id", "").strip()
        after = Position.parse(last) if last else START
        if after is None:
            raise errors.unknown_position(last)
        stored = await services.runs.load(caller(request).project, thread_id, run_id)
        if after.seq > stored.seq:
            raise errors.unknown_position(last)
        if after.seq == stored.seq and stored.state.run.status in TERMINAL:
            return Response(DONE, media_type="text/event-stream")
        if after.seq < stored.seq and not await services.store.facts(RunId(run_id), after_seq=after.seq, limit=1):
            raise errors.events_gone(run_id)
        return EventStream(RunStream(services.store, services.bus, RunId(run_id), after=after))

    async def update(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        body = await read_body(self._services, request, UpdateRun, optional=True)
        project = caller(request).project
        try:
            run = await self._services.store.update_run(
                project, thread_id, run_id, lambda before: changed_run(before, body.metadata)
            )
        except Missing:
            await self._services.runs.load(project, thread_id, run_id)
            raise errors.no_such("run", run_id) from None
        return answer_run(run)

    async def cancel(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        return answer_run(await self._services.runs.cancel(caller(request).project, thread_id, run_id))

    async def submit_tool_outputs(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        body = await read_body(self._services, request, SubmitToolOutputs)
        moved = await self._services.runs.submit(caller(request).project, thread_id, run_id, tuple(body.tool_outputs))
        return self._answer(moved, stream=body.stream)

    async def _new_run(
        self, project: ProjectId, body: CreateRun | CreateThreadAndRun, thread_id: str
    ) -> tuple[Run, RunSettings]:
        services = self._services
        stored = await services.store.assistant(project, body.assistant_id)
        if stored is None:
            raise errors.no_such("assistant", body.assistant_id)
        settings = run_settings(
            stored.assistant,
            body,
            assistant_temperature=stored.given.temperature,
            assistant_top_p=stored.given.top_p,
        )
        run = new_run(
            body,
            settings,
            run_id=services.new_id("run"),
            thread_id=thread_id,
            at=services.now(),
            lifetime_seconds=services.run_lifetime_seconds,
        )
        return run, settings

    def _answer(self, moved: Moved, *, stream: bool | None, first: bytes = b"", include: bool = False) -> Response:
        if not stream:
            return answer_run(moved.run)
        services = self._services
        reader = IncludingStream if include else RunStream
        return EventStream(
            reader(services.store, services.bus, RunId(moved.run.id), after=Position(moved.after_seq)), first=first
        )


def _store_to_make(body: CreateThreadAndRun) -> NewVectorStoreBody | None:
    """The store that the new thread asks for. Raises `errors.InvalidField` where a store is named as well."""
    path = "thread.tool_resources"
    store = None if body.thread is None else store_to_make(body.thread.tool_resources, path)
    search = None if body.tool_resources is None else body.tool_resources.file_search
    if store is not None and search is not None and search.vector_store_ids:
        raise refusals.mutually_exclusive(
            "tool_resources.file_search.vector_store_ids", f"{path}.file_search.vector_stores"
        )
    return store
