"""How a run's task is called away while it waits for a model server, and at no other time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


class CalledAway(Exception):
    """Somebody interrupted the wait: the run's row says why."""


class Attention:
    """Belongs to the task that makes it. Costs nothing per chunk: no timer and no task for each wait.

    `call_away` may come at any moment. It breaks off a running `wait`, or the next one, and never a write. When
    `seconds` have passed it comes by itself, and `time_is_over`.
    """

    def __init__(self, *, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._called = False
        self._waiting = False
        self.time_is_over = False
        self._timer = asyncio.get_running_loop().call_later(max(seconds, 0), self._time_out)

    def call_away(self) -> None:
        self._called = True
        if self._waiting:
            self._waiting = False
            self._task.cancel()

    def _time_out(self) -> None:
        self.time_is_over = True
        self.call_away()

    async def wait(self, begin: Callable[[], Awaitable[_T]]) -> _T:
        """What `begin()` gives. Raises `CalledAway`."""
        if self._called:
            raise CalledAway
        self._waiting = True
        try:
            return await begin()
        except asyncio.CancelledError:
            if self._was_called() and self._task.uncancel() == 0:
                raise CalledAway from None
            raise
        finally:
            self._waiting = False

    def _was_called(self) -> bool:
        """Whether `call_away` broke the wait off; a cancel from elsewhere is not ours to swallow."""
        return self._called and not self._waiting

    def close(self) -> None:
        self._timer.cancel()
