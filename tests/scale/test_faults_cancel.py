"""Two hundred runs are cancelled at the moment at which they complete, each from another node than works on it."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Final

from support.end_state import check_end_state
from support.model_server import Reply, ScriptedModel, Silence
from support.nodes import LONG_LEASES, Node, nodes
from support.postgres import database_url
from support.reading import Reading
from support.redis import shared_redis
from support.talk import Talk

RUNS: Final = 200
AT_ONCE: Final = 40


async def race(model: ScriptedModel, three: list[Node], chance: random.Random) -> str:
    """How a run ended that completes, and is cancelled, at about the same time."""
    works, cancels, reads = chance.sample(three, 3)
    gate = asyncio.Event()
    thread = await works.client.post("/v1/threads", {"messages": [{"role": "user", "content": "Hello"}]})
    assistant = await works.client.post("/v1/assistants", {"model": "gpt-4o"})
    model.rule(
        lambda received: received.body["messages"][0]["content"] == thread["id"], Reply("Half ", Silence(gate), "all.")
    )
    talk = Talk(reads.client, assistant, thread)
    here, elsewhere = Reading(talk.path), Reading(talk.path)
    body = {"assistant_id": assistant["id"], "instructions": thread["id"]}
    reading = [asyncio.create_task(here.take(works.client, f"{talk.path}/runs", body))]
    await here.until("thread.message.delta", seconds=30)
    elsewhere.run_id = here.run_id
    reading.append(asyncio.create_task(elsewhere.resume(reads.client)))
    cancelling = asyncio.create_task(cancels.client.request("POST", f"{talk.path}/runs/{here.run_id}/cancel"))
    await asyncio.sleep(chance.uniform(0, 0.02))  # so that either of them is first at times
    gate.set()
    answer = await cancelling
    await asyncio.gather(*reading)
    here.check()
    elsewhere.check(torn=True)  # the cancel may overtake the last words on their way between two nodes
    assert here.ends == elsewhere.ends == ["done"]
    run = await talk.get(here.run)
    assert run == here.run == elsewhere.run
    if answer.status == 200:
        assert run["status"] in ("cancelled", "completed")
    else:
        assert (answer.status, run["status"]) == (400, "completed")
    (message,) = [message for message in await talk.messages() if message["role"] == "assistant"]
    said = message["content"][0]["text"]["value"]
    assert "Half all.".startswith(said)
    assert said == "Half all." or run["status"] == "cancelled"
    status: str = run["status"]
    return status


async def test_of_200_cancels_against_200_completions_each_run_ends_one_way(tmp_path: Path) -> None:
    url, chance = database_url(tmp_path), random.Random(6)
    async with ScriptedModel() as model:
        shared = {"database_url": url, "redis_url": shared_redis().url}
        async with nodes(model, tmp_path, limits=LONG_LEASES, **shared) as three:
            room = asyncio.Semaphore(AT_ONCE)

            async def one() -> str:
                async with room:
                    return await race(model, three, chance)

            ended = Counter(await asyncio.gather(*(one() for _ in range(RUNS))))
        assert set(ended) == {"cancelled", "completed"}, ended
        assert await check_end_state(url) == ended
