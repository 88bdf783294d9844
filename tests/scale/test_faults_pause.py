"""A node that stands still for longer than its lease, and then goes on as if nothing had been."""

import asyncio
from pathlib import Path

from support.end_state import check_end_state
from support.model_server import Reply, ScriptedModel, Silence
from support.nodes import nodes
from support.postgres import database_url
from support.reading import Reading
from support.redis import shared_redis
from support.talk import Talk

RUNS = 6


async def test_a_node_that_slept_through_its_lease_writes_nothing_when_it_wakes(tmp_path: Path) -> None:
    url, gate = database_url(tmp_path), asyncio.Event()
    async with ScriptedModel() as model:
        model.script(*(Reply("Late ", Silence(gate), *("word " for _ in range(50))) for _ in range(RUNS)))
        model.script(*(Reply("In ", "time.") for _ in range(RUNS)))
        async with nodes(model, tmp_path, database_url=url, redis_url=shared_redis().url) as (sleeps, other, third):
            talks = await asyncio.gather(*(Talk.begin(sleeps.client) for _ in range(RUNS)))
            here = [Reading(talk.path) for talk in talks]
            elsewhere = [Reading(talk.path) for talk in talks]
            reading = [
                asyncio.create_task(one.start(sleeps.client, talk.assistant))
                for one, talk in zip(here, talks, strict=True)
            ]
            await asyncio.gather(*(one.until("thread.message.delta") for one in here))
            for one, same in zip(elsewhere, here, strict=True):
                one.run_id = same.run_id

            sleeps.pause()
            await asyncio.gather(*(one.follow(lambda: other.client) for one in elsewhere))
            gate.set()  # what the sleeper hears of the model as soon as it wakes
            sleeps.wake()
            await asyncio.gather(*reading)
            await asyncio.gather(*(one.follow(lambda: sleeps.client) for one in here))
            for one, same, talk in zip(here, elsewhere, talks, strict=True):
                one.check()
                same.check()
                assert one.run == same.run == await Talk(third.client, talk.assistant, talk.thread).get(one.run)
                said = [message["content"][0]["text"]["value"] for message in await talk.messages()]
                assert said == ["What is 2+2?", "In time."]
            assert sleeps.crashes == []
            again = [await talk.run() for talk in talks]
            for talk, run in zip(talks, again, strict=True):
                await talk.until(run, "completed", seconds=20)
        assert await check_end_state(url) == {"completed": 2 * RUNS}
