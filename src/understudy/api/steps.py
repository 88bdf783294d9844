"""`/threads/{thread_id}/runs/{run_id}/steps`."""

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from understudy.api.caller import caller
from understudy.api.lists import answer_rows
from understudy.api.read import path_id, read_query
from understudy.api.respond import answer, found
from understudy.api.services import Services
from understudy.core.ids import RunId
from understudy.core.included import with_content
from understudy.ports import PageQuery, Rows
from understudy.wire.lists import IncludeQuery, ListStepsQuery
from understudy.wire.steps import RunStep


class Steps:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        query = read_query(request, ListStepsQuery)
        project = caller(request).project
        await self._services.runs.load(project, thread_id, run_id)

        async def read(wanted: PageQuery) -> Rows:
            rows = await self._services.store.page("step", project, run_id, wanted)
            return await self._included(rows, run_id) if query.include else rows

        return await answer_rows(query, read)

    async def retrieve(self, request: Request) -> Response:
        thread_id, run_id = path_id(request, "thread"), path_id(request, "run")
        step_id = path_id(request, "step")
        query = read_query(request, IncludeQuery)
        project = caller(request).project
        await self._services.runs.load(project, thread_id, run_id)
        body = found(await self._services.store.body("step", project, run_id, step_id), "step", step_id)
        if query.include:
            rows = await self._included(Rows(ids=[step_id], bodies=[body], has_more=False), run_id)
            body = rows.bodies[0]
        return answer(body)

    async def _included(self, rows: Rows, run_id: str) -> Rows:
        """The steps with what their searches found, as text."""
        notes = await self._services.store.notes(RunId(run_id))
        if not notes:
            return rows
        steps = [msgspec.json.decode(body, type=RunStep) for body in rows.bodies]
        bodies = [msgspec.json.encode(with_content(step, notes.get(step.id, {}))) for step in steps]
        return replace(rows, bodies=bodies)
