"""Nodes that start together on an empty database, and are restarted one after the other while clients talk on."""

import random
from pathlib import Path

import asyncpg

from support.client import Client
from support.conversations import Talker, all_went_on, talking
from support.end_state import check_end_state
from support.model_server import Reply, ScriptedModel
from support.nodes import Node, nodes
from support.postgres import database_url
from support.redis import shared_redis
from support.talk import Talk
from understudy.store.migrations import MIGRATIONS

TALKERS = 6


async def test_nodes_that_start_at_once_on_an_empty_database_make_its_tables_once(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    async with ScriptedModel() as model, nodes(model, tmp_path, database_url=url) as three:
        for node in three:
            talk = await Talk.begin(node.client)
            await talk.until(await talk.run(), "completed", seconds=20)
        connection: asyncpg.Connection = await asyncpg.connect(url)
        try:
            steps = [row["version"] for row in await connection.fetch("SELECT version FROM schema_version ORDER BY 1")]
        finally:
            await connection.close()
        assert steps == list(range(1, len(MIGRATIONS) + 1))


async def test_a_rolling_restart_breaks_connections_and_nothing_else(tmp_path: Path) -> None:
    url, chance = database_url(tmp_path), random.Random(6)
    async with ScriptedModel() as model:
        model.rule(lambda _: True, Reply(*("word " for _ in range(8)), delay=0.02))
        async with nodes(model, tmp_path, database_url=url, redis_url=shared_redis().url) as three:

            def any_node() -> Client:
                return chance.choice([node for node in three if node.alive]).client

            talkers = [Talker(any_node) for _ in range(TALKERS)]
            async with talking(talkers):
                for node in three:
                    await all_went_on(talkers)
                    await restarted(node)
                await all_went_on(talkers)
            for talker in talkers:
                await talker.check()
            assert any(talker.disturbed for talker in talkers)
        ended = await check_end_state(url)
        assert set(ended) == {"completed"}


async def restarted(node: Node) -> None:
    await node.stop()
    await node.start()
