"""What the load client is told, and what it answers."""

from typing import TypeAlias

from msgspec import Struct, field


class Volley(Struct, tag=True, kw_only=True, frozen=True):
    """`count` requests over `concurrency` kept-alive connections, which begin within `spread_seconds`.

    `request` is the whole HTTP request. `token` is what each token of an answer has once, `end` stands in the last
    4 KiB of every good answer. After `seconds_max` the client gives up.
    """

    port: int
    request: str
    count: int
    token: str
    end: str
    concurrency: int = 1
    spread_seconds: float = 0.0
    seconds_max: float = 60.0


class Together(Struct, tag=True, frozen=True):
    """Volleys at the same time. Their outcome is that of all of them."""

    volleys: list[Volley]


class Hold(Struct, tag=True, frozen=True):
    """Opens `count` streams and leaves them open."""

    volley: Volley


class Finish(Struct, tag=True, frozen=True):
    """Waits for the end of the streams that are held open."""

    seconds_max: float = 60.0


Order: TypeAlias = Volley | Together | Hold | Finish


class Outcome(Struct):
    """Times of the good answers, in milliseconds from the request's first byte; `failed` tells of the first others."""

    first_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)
    tokens: int = 0
    failures: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0  # from the first request to the end of the last answer
