"""Reading requests: bounded bodies, queries, and ids in paths."""

from typing import TypeVar

from msgspec import Struct
from starlette.requests import ClientDisconnect, Request

from understudy.api.caller import caller
from understudy.api.decode import decode_body, decode_query, v1_rewrite
from understudy.api.services import Services
from understudy.core import errors
from understudy.core.ids import PREFIXES, Kind

_T = TypeVar("_T", bound=Struct)

# What a path calls each kind; the vendor's refusals quote the prefix without its underscore.
_FIELDS: dict[Kind, str] = {
    "assistant": "assistant_id",
    "thread": "thread_id",
    "message": "message_id",
    "run": "run_id",
    "step": "step_id",
    "file": "file_id",
    "vector store": "vector_store_id",
    "file batch": "batch_id",
    "upload": "upload_id",
}


def path_id(request: Request, kind: Kind) -> str:
    """An id from the path. Raises `errors.InvalidField` when it cannot be of this kind.

    An id of another kind is not called invalid but unknown, with its own name: Node's argument order changed at major
    5, and calls in the wrong order put a run's id in the thread's place.
    """
    field = _FIELDS[kind]
    id_: str = request.path_params[field]
    prefix = PREFIXES[kind].rstrip("_-")
    if id_.startswith(prefix):
        return id_
    if id_.startswith(tuple(PREFIXES.values())):
        raise errors.no_such(kind, id_)
    raise errors.wrong_prefix(field, id_, prefix)


async def read_bytes(request: Request, limit: int) -> bytes:
    """The whole body. Raises `errors.TooLarge` before more than `limit` bytes are held."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            pieces.append(piece)
    except ClientDisconnect:
        raise errors.BadRequest("The request body ended early.") from None
    return b"".join(pieces)


def _too_large(limit: int) -> errors.TooLarge:
    return errors.TooLarge(f"The request body is larger than the {limit} bytes that this server accepts.")


async def read_body(services: Services, request: Request, type_: type[_T], *, optional: bool = False) -> _T:
    """The body as a struct. `optional`: no body at all is an empty object. Raises `errors.ApiError`."""
    raw = await read_bytes(request, services.body_bytes_max)
    if optional and not raw.strip():
        raw = b"{}"
    rewrite = None if caller(request).beta == "v2" else v1_rewrite(type_)
    return decode_body(raw, type_, lenient=services.lenient, rewrite=rewrite)


def read_query(request: Request, type_: type[_T]) -> _T:
    """Raises `errors.InvalidField`. Unknown parameters (`api-version`) are of no interest."""
    return decode_query(request.query_params.multi_items(), type_)
