"""Nodes whose clocks are two minutes apart: leases are moments, and all of them must mean the same one."""

import asyncio
from pathlib import Path

import asyncpg

from support.end_state import check_end_state
from support.model_server import Reply, ScriptedModel, Silence
from support.nodes import nodes
from support.postgres import database_url
from support.reading import Reading
from support.redis import shared_redis
from support.talk import Talk, polled

AHEAD = (60.0, -60.0, 0.0)
# Long enough for a busy machine's nodes to be heard of in time, and much shorter than what the clocks differ by.
LEASES = {"LEASE_SECONDS": 6.0, "LEASE_RENEW_SECONDS": 0.25}


async def leases(url: str) -> list[float]:
    connection: asyncpg.Connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT lease_until FROM runs WHERE lease_until IS NOT NULL ORDER BY seq")
        return [row["lease_until"] for row in rows]
    finally:
        await connection.close()


async def test_clocks_that_differ_neither_end_a_lease_early_nor_keep_a_dead_nodes_runs(tmp_path: Path) -> None:
    url, gate, last = database_url(tmp_path), asyncio.Event(), asyncio.Event()
    async with ScriptedModel() as model:
        model.script(*(Reply("Half ", Silence(gate), "whole.") for _ in AHEAD))
        async with nodes(
            model, tmp_path, ahead=AHEAD, limits=LEASES, database_url=url, redis_url=shared_redis().url
        ) as three:
            talks = [await Talk.begin(node.client) for node in three]
            readings = [Reading(talk.path) for talk in talks]
            reading = [
                asyncio.create_task(one.start(node.client, talk.assistant))
                for one, node, talk in zip(readings, three, talks, strict=True)
            ]
            await asyncio.gather(*(one.until("thread.message.delta") for one in readings))
            first = await leases(url)

            async def renewed() -> bool | None:
                now = await leases(url)
                return True if len(now) == 3 and min(now) > max(first) + 1 else None

            await polled(renewed, seconds=20)
            gate.set()
            await asyncio.gather(*reading)
            for one in readings:
                one.check()
                assert one.ends == ["done"]
            assert len(model.chats) == 3  # nobody took a run over that was being worked on
            made = [one.run["created_at"] for one in readings]
            assert max(made) - min(made) < 20

            # The one that is ahead dies: its lease must not run for as long as its clock says.
            model.script(Reply("Half ", Silence(last), "whole."), Reply("All of it."))
            reader = Reading(talks[0].path)
            dying = asyncio.create_task(reader.start(three[0].client, talks[0].assistant))
            await reader.until("thread.message.delta")
            await three[0].kill()
            await dying
            async with asyncio.timeout(30):
                await reader.follow(lambda: three[1].client)
            reader.check()
            assert reader.run["status"] == "completed"
        assert await check_end_state(url) == {"completed": 4}
