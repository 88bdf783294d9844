"""How many connections to PostgreSQL several processes hold while they have much to do."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from support.model_server import ScriptedModel
from support.postgres import database_url
from support.redis import shared_redis
from support.server import running_server
from support.talk import Talk
from understudy.core.limits import POSTGRES_CONNECTIONS_MAX

_NODES = 2
_RUNS = 12  # at once, of each process
_OURS = "SELECT COUNT(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"


@pytest.mark.parametrize(("link", "more"), [("redis", 0), ("postgres alone", 1)])
async def test_processes_under_load_hold_a_few_connections_each(tmp_path: Path, link: str, more: int) -> None:
    url = database_url(tmp_path)
    shared = {"database_url": url} | ({"redis_url": shared_redis().url} if link == "redis" else {})
    watch = await asyncpg.connect(url)
    before = await watch.fetchval(_OURS)
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, await watch.fetchval(_OURS) - before)
            await asyncio.sleep(0.01)

    try:
        async with AsyncExitStack() as opened:
            model = await opened.enter_async_context(ScriptedModel())
            nodes = [await opened.enter_async_context(running_server(model, tmp_path, **shared)) for _ in range(_NODES)]
            talks = [await Talk.begin(node.client, content="@say Hi") for node in nodes for _ in range(_RUNS)]
            counting = asyncio.create_task(count())
            runs = await asyncio.gather(*(talk.run() for talk in talks))
            await asyncio.gather(*(talk.until(run, "completed") for talk, run in zip(talks, runs, strict=True)))
            counting.cancel()
            await asyncio.wait([counting])
    finally:
        await watch.close()
    assert _NODES < most <= _NODES * (POSTGRES_CONNECTIONS_MAX + more)
