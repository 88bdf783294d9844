"""Live events, and the wake-ups between those who make work and those who do it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from understudy.core.ids import RunId


class Frame(Struct, frozen=True, gc=False):
    """One event on its way to readers. `seq` is the fact's number; deltas have none, their place is their order.

    `data` is the whole SSE frame, encoded once for all readers.
    """

    seq: int | None
    event: str
    data: bytes


class Follower(Protocol):
    """A place in a run's frames. `held_from` is the first fact number that the bus still has, `None` if it has none."""

    held_from: int | None
    closed: bool

    async def next(self, take: Callable[[Sequence[Frame]], bool] | None = None) -> Sequence[Frame]:
        """All frames not yet taken, waiting for at least one. Empty after `close` and after `nudge`.

        What is published while it waits is offered to `take` first, within `publish`: frames that it answers `True` to
        are taken, and the wait goes on. Raises what `take` raises.
        """

    def nudge(self) -> None:
        """Wakes whoever waits in `next`, once, with nothing."""

    def close(self) -> None:
        """Wakes whoever waits in `next`, for ever."""


class Bus(Protocol):
    """Live events within and between processes. It may forget; the fact log does not."""

    def publish(self, run_id: RunId, frames: Sequence[Frame]) -> None:
        """What was published before a discard is no longer held: later readers learn from the log what is left."""

    def follow(self, run_id: RunId) -> Follower:
        """From the first frame that the bus still has."""

    def retire(self, run_id: RunId) -> None:
        """The run is gone for good (its thread was deleted): forgets it and closes its followers."""

    def forget(self, run_id: RunId, *, before: int | None = None) -> None:
        """What is held of the run here may not be what became of it: its readers are to go by the log.

        `before`: only if that is from before the fact with this number, which discards it.
        """

    def wake(self) -> None:
        """A run became claimable."""

    async def wait_for_work(self, seconds: float) -> None:
        """Returns after a `wake`, or after `seconds`. A wake between two waits is not lost."""

    def interrupt(self, run_id: RunId) -> None:
        """Whoever works on this run shall look at its row now (it is being cancelled, or was deleted)."""

    def on_interrupt(self, run_id: RunId, call: Callable[[], None]) -> Callable[[], None]:
        """Calls back at each interrupt of this run, until the function that it returns is called."""

    async def close(self) -> None: ...
