"""PostgreSQL's disk is full: what cannot be written is refused in words, and all goes on when there is room."""

import asyncio
import os
import random
from pathlib import Path

from support.conversations import Talker, all_went_on, talking
from support.end_state import check_end_state
from support.model_server import Reply, ScriptedModel
from support.nodes import nodes
from support.postgres import new_postgres
from support.redis import shared_redis
from support.talk import polled

TALKERS = 6


async def test_without_room_for_rows_requests_are_refused_and_what_was_acknowledged_stays(tmp_path: Path) -> None:
    chance = random.Random(6)
    with new_postgres(wal_segment_mb=1) as postgres:
        url = postgres.url("postgres")
        async with ScriptedModel() as model:
            model.rule(lambda _: True, Reply(*("word " for _ in range(8)), delay=0.01))
            async with nodes(model, tmp_path, database_url=url, redis_url=shared_redis().url) as three:
                talkers = [Talker(lambda: chance.choice(three).client) for _ in range(TALKERS)]
                kept: list[str] = []
                async with talking(talkers):
                    await all_went_on(talkers)
                    with postgres.full_disk():

                        async def refused() -> bool | None:
                            """Fills up what room the tables have of their own."""
                            words = os.urandom(24_000).hex()  # what cannot be compressed
                            body = {"messages": [{"role": "user", "content": words}]}
                            answer = await chance.choice(three).client.request("POST", "/v1/threads", body)
                            if answer.status == 200:
                                kept.append(answer.body["id"])
                                return None
                            assert (answer.status, answer.error["type"]) == (503, "server_error")
                            return True

                        await polled(refused, seconds=60)
                        # All that was written can be read.
                        for thread in random.sample(kept, min(5, len(kept))):
                            await three[0].client.get(f"/v1/threads/{thread}/messages")
                        await asyncio.gather(*(node.client.get("/v1/assistants") for node in three))
                    await all_went_on(talkers)
                for talker in talkers:
                    await talker.check()
                for thread in kept:
                    assert len((await three[1].client.get(f"/v1/threads/{thread}/messages"))["data"]) == 1
            ended = await check_end_state(url)
            assert set(ended) == {"completed"}
