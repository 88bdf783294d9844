"""Request bodies that are as short as they may be, and the refusal that a body gets."""

from typing import Any

import msgspec
import pytest

from understudy.api.decode import decode_body
from understudy.core.errors import BadRequest
from understudy.wire.base import Body


def refusal(type_: type[Body], body: dict[str, Any] | bytes, **options: Any) -> tuple[str, str | None, str | None]:
    """Its message, param and code."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(BadRequest) as caught:
        decode_body(raw, type_, **options)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value.message, caught.value.param, caught.value.code


def assistant(**fields: Any) -> dict[str, Any]:
    return {"model": "m", **fields}


def message(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": "Hello", **fields}


def run(**fields: Any) -> dict[str, Any]:
    return {"assistant_id": "asst_1", **fields}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}
