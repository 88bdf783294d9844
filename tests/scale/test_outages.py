"""What is shared goes away for a while: runs go on, and their readers are told everything in the end."""

import asyncio
from pathlib import Path

from support.model_server import Reply, ScriptedModel, Silence
from support.postgres import database_url, shared_postgres
from support.redis import new_redis
from support.server import running_server
from support.talk import Talk, polled


async def test_without_redis_a_stream_catches_up_from_the_log(tmp_path: Path) -> None:
    redis = new_redis()
    shared = {"database_url": database_url(tmp_path), "redis_url": redis.url}
    try:
        async with (
            ScriptedModel() as model,
            running_server(model, tmp_path, worker=False, **shared) as front,
            running_server(model, tmp_path, **shared),
        ):
            gate = asyncio.Event()
            model.script(Reply("One ", Silence(gate), "two."))
            talk = await Talk.begin(front.client)
            reading = asyncio.create_task(talk.stream())
            await polled(lambda: _spoken(talk))
            redis.stop()
            gate.set()
            async with asyncio.timeout(10):
                events = await reading
            assert [event.name for event in events][-2:] == ["thread.run.completed", "done"]
            completed = next(event for event in events if event.name == "thread.message.completed")
            assert completed.data["content"][0]["text"]["value"] == "One two."
            redis.start()
            await talk.client.post(f"{talk.path}/messages", {"role": "user", "content": "@say Again"})
            events = await talk.stream()
            completed = next(event for event in events if event.name == "thread.message.completed")
            assert completed.data["content"][0]["text"]["value"] == "Again"
    finally:
        redis.remove()


async def _spoken(talk: Talk) -> bool | None:
    steps = [run["status"] for run in (await talk.client.get(f"{talk.path}/runs"))["data"]]
    messages = (await talk.client.get(f"{talk.path}/messages"))["data"]
    return True if steps == ["in_progress"] and len(messages) == 2 else None


async def test_without_postgres_requests_are_refused_and_it_goes_on_when_that_is_back(tmp_path: Path) -> None:
    url, postgres = database_url(tmp_path), shared_postgres()
    async with ScriptedModel() as model, running_server(model, tmp_path, database_url=url) as server:
        talk = await Talk.begin(server.client, content="@say Hi")
        postgres.stop()
        try:
            for method, path in (("POST", "/v1/threads"), ("GET", talk.path)):
                refused = await server.client.request(method, path)
                assert (refused.status, refused.error["type"]) == (503, "server_error")
        finally:
            postgres.start()
        await talk.until(await talk.run(), "completed")
