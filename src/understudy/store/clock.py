"""The time that all processes of one database agree on: the database's own.

Leases are moments, written by one process and compared with by another. With each machine's own clock, one that is
ahead by more than a lease would take over runs that are being worked on.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from understudy.core.limits import CLOCK_APART_SECONDS, CLOCK_LOOK_SECONDS
from understudy.ports import Clock, StoreUnavailable

__all__ = ["DatabaseClock"]

log = structlog.get_logger()


class DatabaseClock:
    """A `Clock`: this machine's, shifted by what it was last found to be apart from the database's.

    It is compared once by `open`, and every `look_seconds` from then on. Differences of less than
    `CLOCK_APART_SECONDS` are left as they are, so that time runs evenly and hardly ever back.
    """

    def __init__(
        self, machine: Clock, ask: Callable[[], Awaitable[float]], *, look_seconds: float = CLOCK_LOOK_SECONDS
    ) -> None:
        """`ask` gives the database's time, in Unix seconds. Raises `StoreUnavailable`."""
        self._machine = machine
        self._ask = ask
        self._look_seconds = look_seconds
        self._ahead_seconds = 0.0
        self._chore: asyncio.Task[None] | None = None

    def __call__(self) -> float:
        return self._machine() + self._ahead_seconds

    async def open(self) -> None:
        """Raises `StoreUnavailable`."""
        await self.compare()
        self._chore = asyncio.create_task(self._again_and_again(), name="compare-clocks")

    async def compare(self) -> None:
        """Raises `StoreUnavailable`; then it goes on as it is."""
        asked_at = self._machine()
        told = await self._ask()
        answered_at = self._machine()
        ahead_seconds = told - (asked_at + answered_at) / 2
        # The database may have looked at its clock at any moment of the journey.
        unsure_seconds = (answered_at - asked_at) / 2
        if abs(ahead_seconds - self._ahead_seconds) > max(CLOCK_APART_SECONDS, unsure_seconds):
            log.warning("clock_differs_from_database", seconds=round(ahead_seconds, 3))
            self._ahead_seconds = ahead_seconds

    async def close(self) -> None:
        if self._chore is not None:
            self._chore.cancel()
            await asyncio.wait([self._chore])

    async def _again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self.compare()
            except StoreUnavailable as error:
                log.info("clocks_not_compared", reason=str(error))
            except Exception:
                log.exception("clocks_not_compared")
