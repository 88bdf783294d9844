"""A process that stands still in the middle of a transaction, as on a machine that sleeps, and those beside it."""

import asyncio
import threading
from pathlib import Path

import pytest

from support.postgres import database_url
from support.store import PROJECT, begun_thread, message
from understudy.ports import StoreUnavailable
from understudy.store.operations import Op, Query
from understudy.store.postgres import open_postgres

HOLD = "SELECT id FROM threads WHERE id = ?"


async def test_a_transaction_that_stands_still_loses_its_locks(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    holds, goes_on = threading.Event(), threading.Event()
    other = await open_postgres(url)
    try:
        thread_id = await begun_thread(other)

        def stand_still() -> Op[None]:
            yield Query(HOLD, (thread_id,), locks=True)
            holds.set()
            assert goes_on.wait(30)
            yield Query(HOLD, (thread_id,), locks=True)

        async def sleeper() -> None:
            store = await open_postgres(url, still_seconds=0.2)
            try:
                with pytest.raises(StoreUnavailable):
                    await store._write(stand_still)
                await store.check()
            finally:
                await store.close()

        sleeping = asyncio.create_task(asyncio.to_thread(asyncio.run, sleeper()))
        assert await asyncio.to_thread(holds.wait, 20)
        async with asyncio.timeout(10):
            await other.add_message(PROJECT, message(thread_id))
        goes_on.set()
        await sleeping
    finally:
        goes_on.set()
        await other.close()
