"""What a process needs to start, and what it can do without."""

import asyncio
from pathlib import Path

from redis import asyncio as client

from support.model_server import Reply, ScriptedModel, Silence
from support.postgres import database_url
from support.redis import new_redis
from support.server import running_server
from support.store import refusal
from support.talk import Talk, polled
from understudy.bus.opening import open_bus
from understudy.entropy import now
from understudy.ports import StoreUnavailable


async def test_a_process_starts_without_its_redis_and_uses_it_when_it_comes(tmp_path: Path) -> None:
    redis = new_redis()
    redis.stop()
    shared = {"database_url": database_url(tmp_path), "redis_url": redis.url}
    try:
        async with (
            ScriptedModel() as model,
            running_server(model, tmp_path, worker=False, **shared) as front,
            running_server(model, tmp_path, **shared),
        ):
            talk = await Talk.begin(front.client, content="@say Hello")
            events = await talk.stream()
            completed = next(event for event in events if event.name == "thread.message.completed")
            assert completed.data["content"][0]["text"]["value"] == "Hello"
            redis.start()

            async def crosses() -> bool | None:
                gate = asyncio.Event()
                model.script(Reply("One ", Silence(gate), "two ", "three."))
                reading = asyncio.create_task(talk.stream())
                await model.until(lambda: bool(model.chats))
                await asyncio.sleep(0.05)
                gate.set()
                names = [event.name for event in await reading]
                return True if names.count("thread.message.delta") == 3 else None

            await polled(crosses, seconds=30)
    finally:
        redis.remove()


async def test_a_redis_that_wants_a_password_is_one_sentence() -> None:
    redis = new_redis()
    try:
        async with client.from_url(redis.url) as operator:
            await operator.config_set("requirepass", "hush")
        refused = await refusal(StoreUnavailable, open_bus(now, node="a", redis_url=redis.url, postgres_url=None))
        assert str(refused).startswith("Redis refuses the redis_url: ")
    finally:
        redis.remove()
