"""What a server and a daemon of sandboxes say to each other, as docs/sandbox-protocol.md tells it."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from understudy.ports import CodeEvent, SandboxFile, SessionState

__all__ = [
    "PING",
    "CodeLine",
    "Execution",
    "Held",
    "HeldLine",
    "Listing",
    "Ping",
    "Refused",
    "Stored",
    "Wanted",
    "line",
]


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose session is to be held. `fresh`: what this daemon still has of it is out of date."""

    key: Annotated[str, Meta(min_length=1, max_length=512)]
    fresh: bool = False


class Held(Struct, frozen=True, tag="held"):
    """The session is the caller's until this answer ends. `lease` is its name in further requests."""

    lease: str
    state: SessionState


class Refused(Struct, frozen=True, tag="refused"):
    """In the place of what was asked for. `message` can be shown to anybody."""

    kind: Literal["busy", "unavailable", "refused"]
    message: str


class Ping(Struct, frozen=True, tag="ping"):
    """The daemon is there."""


class Execution(Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    seconds: Annotated[float, Meta(ge=0, le=86_400)] | None = None


class Stored(Struct, frozen=True):
    """Where code finds a file that was put."""

    path: str


class Listing(Struct, frozen=True):
    files: Sequence[SandboxFile]


HeldLine: TypeAlias = Held | Refused | Ping
CodeLine: TypeAlias = CodeEvent | Refused | Ping


def line(said: HeldLine | CodeLine) -> bytes:
    return msgspec.json.encode(said) + b"\n"


PING: Final = line(Ping())
