"""The data directory as a command uses it: opened, asked one thing, closed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from understudy.cli.terminal import Stop
from understudy.logs import keep_apart
from understudy.ports import Store, StoreUnavailable
from understudy.settings import Settings
from understudy.store.migrations import UnusableDatabase
from understudy.store.opening import open_store

__all__ = ["with_store"]

T = TypeVar("T")


def with_store(settings: Settings, ask: Callable[[Store], Awaitable[T]]) -> T:
    """What `ask` answers. The directory is made if it is missing. Raises `Stop` when it cannot be used."""
    keep_apart()  # it may be the first program of a newer version

    async def opened() -> T:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = await open_store(settings.database)
        try:
            return await ask(store)
        finally:
            await store.close()

    try:
        return asyncio.run(opened())
    except (OSError, StoreUnavailable, UnusableDatabase) as error:
        what = "database" if settings.database_url else f"data directory {settings.data_dir}"
        raise Stop(f"The {what} cannot be used: {error}.") from error
