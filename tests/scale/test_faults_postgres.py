"""PostgreSQL goes away under three nodes that are at work, and comes back."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from support.conversations import Talker, all_went_on, talking
from support.end_state import check_end_state
from support.model_server import Reply, ScriptedModel
from support.nodes import nodes
from support.postgres import new_postgres
from support.redis import shared_redis

TALKERS = 9


@pytest.mark.parametrize("link", ["redis", "postgres alone"] if os.environ.get("CI") == "true" else ["postgres alone"])
async def test_a_restart_under_load_costs_no_run_and_no_message(tmp_path: Path, link: str) -> None:
    chance = random.Random(6)
    shared = {"redis_url": shared_redis().url} if link == "redis" else {}
    with new_postgres() as postgres:
        url = postgres.url("postgres")
        async with ScriptedModel() as model:
            model.rule(lambda _: True, Reply(*("word " for _ in range(8)), delay=0.01))
            async with nodes(model, tmp_path, database_url=url, **shared) as three:
                talkers = [Talker(lambda: chance.choice(three).client) for _ in range(TALKERS)]
                async with talking(talkers):
                    for how in ("immediate", "fast"):
                        await all_went_on(talkers)
                        await asyncio.to_thread(postgres.stop, how)
                        await asyncio.to_thread(postgres.start)
                    await all_went_on(talkers)
                for talker in talkers:
                    await talker.check()
                assert any(talker.disturbed for talker in talkers)
            ended = await check_end_state(url)
            assert set(ended) == {"completed"}
