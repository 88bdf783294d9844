"""Redis goes away under three nodes that are at work, for a moment or for long, and comes back."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.end_state import check_end_state
from support.model_server import Reply, ScriptedModel, Silence
from support.nodes import LONG_LEASES, Node, nodes
from support.postgres import database_url
from support.reading import Reading
from support.redis import RedisServer, new_redis
from support.talk import Talk, polled

# The time for which Redis is away. Everything that waits for it tries again twice a second.
AWAY_SECONDS = (0.0, 30.0) if os.environ.get("CI") == "true" else (2.0,)
WORDS = [f"word{number} " for number in range(20)]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = new_redis()
    yield server
    server.remove()


@pytest.mark.parametrize("seconds", AWAY_SECONDS)
async def test_runs_go_on_without_redis_and_their_readers_elsewhere_catch_up(
    tmp_path: Path, redis: RedisServer, seconds: float
) -> None:
    url, gates = database_url(tmp_path), [asyncio.Event() for _ in range(3)]
    async with ScriptedModel() as model:
        replies = [Reply(*WORDS[:10], Silence(gate), *WORDS[10:]) for gate in gates]
        async with nodes(model, tmp_path, limits=LONG_LEASES, database_url=url, redis_url=redis.url) as three:
            model.script(*replies)
            runs = [await Followed.begin(three) for _ in gates]
            during, after, behind = runs
            await asyncio.to_thread(redis.stop)
            # One that ends while Redis is away, one that begins then, and one that goes on when it is back.
            gates[0].set()
            await during.check()
            begun = Talk(three[0].client, after.talk.assistant, await three[0].client.post("/v1/threads", {}))
            await three[1].client.post(f"{begun.path}/messages", {"role": "user", "content": "@say Without Redis."})
            reading = Reading(begun.path)
            await reading.start(three[0].client, begun.assistant)
            reading.check()
            assert reading.run["status"] == "completed"
            await asyncio.sleep(seconds)
            gates[1].set()
            await asyncio.to_thread(redis.start)
            gates[2].set()
            await asyncio.gather(after.check(), behind.check())
            await polled(lambda: read_live(three, model), seconds=30)
        ended = await check_end_state(url)
        assert set(ended) == {"completed"}


class Followed:
    """A run in the middle of its answer, with a reader on each node."""

    def __init__(self, talk: Talk, readings: list[Reading], tasks: list[asyncio.Task[None]]) -> None:
        self.talk = talk
        self._readings = readings
        self._tasks = tasks

    @classmethod
    async def begin(cls, three: list[Node]) -> "Followed":
        talk = await Talk.begin(three[0].client)
        readings = [Reading(talk.path) for _ in three]
        tasks = [asyncio.create_task(readings[0].start(three[0].client, talk.assistant))]
        await readings[0].until("thread.run.created")
        for node, reading in zip(three[1:], readings[1:], strict=True):
            reading.run_id = readings[0].run_id
            tasks.append(asyncio.create_task(reading.resume(node.client)))
        await asyncio.gather(*(reading.until("thread.message.delta") for reading in readings))
        return cls(talk, readings, tasks)

    async def check(self) -> None:
        """Waits for its readers: each has been told all, in the end, over the one connection that it opened."""
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)
        here, *elsewhere = self._readings
        here.check()
        for reading in elsewhere:
            reading.check(torn=True)
            assert reading.run == here.run
        assert [reading.ends for reading in self._readings] == [["done"]] * 3
        assert here.run["status"] == "completed"
        assert (await self.talk.messages())[-1]["content"][0]["text"]["value"] == "".join(WORDS)


async def read_live(three: list[Node], model: ScriptedModel) -> bool | None:
    """Whether a reader elsewhere is told an answer word by word."""
    gate = asyncio.Event()
    model.script(Reply(*WORDS[:10], Silence(gate), *WORDS[10:]))
    talk = await Talk.begin(three[0].client)
    run = await talk.run()
    await talk.until(run, "in_progress", seconds=20)
    reading = Reading(talk.path)
    reading.run_id = run["id"]
    task = asyncio.create_task(reading.resume(three[1].client))
    await asyncio.wait([task], timeout=1.0)
    live = any(event.name == "thread.message.delta" for event in reading.events)
    gate.set()
    await task
    reading.check(torn=True)
    return True if live else None
