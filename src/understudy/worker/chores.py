"""What a process does over and over beside its requests."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from understudy.ports import StoreUnavailable

__all__ = ["forever"]

log = structlog.get_logger()


async def forever(
    name: str, chore: Callable[[], Awaitable[None]], *, stopping: Callable[[], bool], pause_seconds: float
) -> None:
    """A chore that fails is tried again: a full disk or a lost connection must not end it for good."""
    while not stopping():
        try:
            await chore()
        except StoreUnavailable as error:
            log.warning("chore_failed", chore=name, reason=str(error))
            await asyncio.sleep(pause_seconds)
        except Exception:
            log.exception("chore_crashed", chore=name)
            await asyncio.sleep(pause_seconds)
