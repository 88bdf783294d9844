from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

Method = Literal["GET", "POST", "DELETE"]


class Operation(Struct, frozen=True, kw_only=True):
    method: Method
    path: str
    id: str
    summary: str
    tag: str
    handler: Callable[[Request], Awaitable[Response]]
    body: type | None = None
    body_required: bool = False
    query: type | None = None
    answer: type | None = None
    item: type | None = None
    streams: bool = False
