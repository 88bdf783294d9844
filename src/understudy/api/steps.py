"""`/threads/{thread_id}/runs/{run_id}/steps`."""

from starlette.requests import Request
from starlette.responses import Response

from understudy.api.caller import caller
from understudy.api.lists import answer_page
from understudy.api.read import path_id, read_query
from understudy.api.respond import answer, found
from understudy.api.services import Services
from understudy.wire.lists import IncludeQuery, ListStepsQuery


class Steps:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        query = read_query(request, ListStepsQuery)
        project = caller(request).project
        await self._services.runs.load(project, thread_id, run_id)
        return await answer_page(self._services.store, "step", project, run_id, query)

    async def retrieve(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        step_id = path_id(request, "step")
        read_query(request, IncludeQuery)
        project = caller(request).project
        await self._services.runs.load(project, thread_id, run_id)
        return answer(found(await self._services.store.body("step", project, run_id, step_id), "step", step_id))
