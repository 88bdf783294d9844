"""What an endpoint is: the routes, and the document that describes them, are both made from these."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from understudy.wire.assistants import UpdateAssistant
from understudy.wire.lists import Page
from understudy.wire.messages import UpdateMessage
from understudy.wire.runs import UpdateRun
from understudy.wire.threads import CreateThread, UpdateThread
from understudy.wire.vector_stores import CreateVectorStore, UpdateVectorStore

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

OPTIONAL_BODIES = (
    None,
    CreateThread,
    UpdateThread,
    UpdateAssistant,
    UpdateMessage,
    UpdateRun,
    CreateVectorStore,
    UpdateVectorStore,
)


class Operation(Struct, frozen=True, kw_only=True):
    """One method on one path, in Starlette's spelling: `/threads/{thread_id}/runs`.

    `id` is the vendor's `operationId`, such as `createRun`. `answer` is what a 200 holds; a list is a page of `item`.
    `streams`: the answer may come as server-sent events instead, if the body asks for them. `queues`: the request may
    wait for a busy thread, if its header asks for that. `file_field`: the body is a form, with a file in that field
    beside those of `body`. `downloads`: a 200 is a file's content.
    """

    method: str
    path: str
    id: str
    summary: str
    tag: str
    handler: Handler
    body: type[Struct] | None = None
    file_field: str | None = None
    body_required: bool = False
    query: type[Struct] | None = None
    answer: type[Struct] | None = None
    item: type[Struct] | None = None
    streams: bool = False
    queues: bool = False
    downloads: bool = False


def made_operation(
    method: str,
    path: str,
    id_: str,
    summary: str,
    handler: Handler,
    *,
    body: type[Struct] | None = None,
    query: type[Struct] | None = None,
    answer: type[Struct] | None = None,
    item: type[Struct] | None = None,
    streams: bool = False,
    queues: bool = False,
    file_field: str | None = None,
    downloads: bool = False,
) -> Operation:
    """`item` makes the answer a page of such objects."""
    return Operation(
        method=method,
        path=path,
        id=id_,
        summary=summary,
        tag=path.split("/")[1].replace("_", " ").capitalize(),
        handler=handler,
        body=body,
        body_required=body not in OPTIONAL_BODIES,
        query=query,
        answer=Page if item is not None else answer,
        item=item,
        streams=streams,
        queues=queues,
        file_field=file_field,
        downloads=downloads,
    )
