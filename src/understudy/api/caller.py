"""Who calls, and in which manners: the edge puts it into the request's scope, routes read it."""

from typing import Literal, TypeAlias

from msgspec import Struct
from starlette.requests import Request

from understudy.core.ids import ProjectId

Beta: TypeAlias = Literal["v1", "v2", "absent"]

SCOPE_KEY = "understudy.caller"


class Caller(Struct, frozen=True):
    """`beta` is what the `OpenAI-Beta` header asks for: `v2` is strict, the others may use v1's request spellings."""

    project: ProjectId
    beta: Beta


def caller(request: Request) -> Caller:
    found = request.scope[SCOPE_KEY]
    assert isinstance(found, Caller)
    return found


def beta_of(header: str | None) -> Beta:
    words = [word.strip() for word in (header or "").split(",")]
    if "assistants=v2" in words:
        return "v2"
    return "v1" if "assistants=v1" in words else "absent"
