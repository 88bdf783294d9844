"""Pages of any resource: from a query's cursors to the envelope. Contract section 1.3."""

from collections.abc import Awaitable, Callable

from msgspec import Raw
from starlette.responses import Response

from understudy.api.respond import answer
from understudy.core import errors
from understudy.core.ids import Kind, ProjectId
from understudy.ports import Missing, PageQuery, Rows, Store
from understudy.wire.lists import ListQuery, Page


async def answer_page(
    store: Store,
    kind: Kind,
    project: ProjectId,
    parent_id: str | None,
    query: ListQuery,
    *,
    run_id: str | None = None,
) -> Response:
    """A page of a kind under its parent, which exists. Raises `errors.BadRequest` for an unknown cursor."""
    return await answer_rows(query, lambda wanted: store.page(kind, project, parent_id, wanted, run_id=run_id))


async def answer_rows(query: ListQuery, read: Callable[[PageQuery], Awaitable[Rows]]) -> Response:
    """The page that `read` gives. Raises `errors.BadRequest` for an unknown cursor."""
    wanted = PageQuery(limit=query.limit, descending=query.order == "desc", after=query.after, before=query.before)
    try:
        rows = await read(wanted)
    except Missing as error:
        raise errors.no_such_cursor(error.kind, error.id, "after" if error.id == query.after else "before") from None
    page = Page(
        data=[Raw(body) for body in rows.bodies],
        first_id=rows.ids[0] if rows.ids else None,
        last_id=rows.ids[-1] if rows.ids else None,
        has_more=rows.has_more,
    )
    return answer(page)
