"""The node that works is killed: the others end its runs, each said once, and its readers go on elsewhere."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from support.end_state import check_end_state
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.nodes import Node, nodes
from support.postgres import database_url
from support.reading import Reading
from support.redis import shared_redis
from support.talk import WEATHER, Talk

# Where the run is when its node is killed -> what its thread has of the model in the end.
MOMENTS: Final = {
    "before the first token": "Here at last.",
    "during text": "Half of it, whole.",
    "while calls come": "The tools say: Sunny",
    "between a search and the answer": "Found nothing.",
    "between outputs and the answer": "Sunny, then.",
    "waiting for outputs": "The tools say: Sunny",
}


def teach(model: ScriptedModel, gate: asyncio.Event) -> None:
    """What the model is silent in the middle of until the gate is opened. Asked again, it says the same again."""

    def asked(moment: str, role: str) -> Callable[[Any], bool]:
        def is_this(received: Any) -> bool:
            messages = received.body["messages"]
            asks = next(message["content"] for message in reversed(messages) if message["role"] == "user")
            return bool(asks == moment and messages[-1]["role"] == role)

        return is_this

    call = Call("call_w", "weather", '{"city": ', '"Bergen"}')
    search = Call("call_s", "file_search", '{"queries": ["rain"]}')
    silence = Silence(gate, before_headers=True)
    model.rule(asked("before the first token", "user"), Reply(silence, "Here ", "at last."))
    model.rule(asked("during text", "user"), Reply("Half ", "of it, ", Silence(gate), "whole."))
    model.rule(asked("while calls come", "user"), Reply(call, Silence(gate)))
    model.rule(asked("between a search and the answer", "user"), Reply(search))
    model.rule(asked("between a search and the answer", "tool"), Reply(silence, "Found ", "nothing."))
    model.rule(asked("between outputs and the answer", "user"), Reply(call))
    model.rule(asked("between outputs and the answer", "tool"), Reply(silence, "Sunny, ", "then."))
    model.rule(asked("waiting for outputs", "user"), Reply(call))


class Visit:
    """A run with two readers: where it is worked on, and elsewhere."""

    def __init__(self, moment: str, talk: Talk) -> None:
        self.moment = moment
        self.talk = talk
        self.here = Reading(talk.path)
        self.elsewhere = Reading(talk.path)
        self.reading: list[asyncio.Task[None]] = []

    @classmethod
    async def begin(cls, moment: str, node: Node, other: Node) -> "Visit":
        store = await node.client.post("/v1/vector_stores", {})
        talk = await Talk.begin(
            node.client,
            content=moment,
            tools=[WEATHER, {"type": "file_search"}],
            tool_resources={"file_search": {"vector_store_ids": [store["id"]]}},
        )
        visit = cls(moment, talk)
        visit.reading = [asyncio.create_task(visit.here.start(node.client, talk.assistant))]
        await visit.here.until("thread.run.in_progress")
        visit.elsewhere.run_id = visit.here.run_id
        visit.reading += [asyncio.create_task(visit.elsewhere.resume(other.client))]
        return visit

    async def reach(self, node: Node) -> None:
        """Returns when the run is where its node is to be killed."""
        last = {
            "before the first token": "thread.run.in_progress",
            "during text": "thread.message.delta",
            "while calls come": "thread.run.step.delta",
            "between a search and the answer": "thread.run.step.completed",
        }.get(self.moment, "thread.run.requires_action")
        await asyncio.gather(self.here.until(last), self.elsewhere.until(last))
        if self.moment == "between outputs and the answer":
            await asyncio.gather(*self.reading)
            self.reading = [asyncio.create_task(self.submit(self.here, node))]
            await self.here.until("thread.run.step.completed")

    async def submit(self, reading: Reading, node: Node) -> None:
        calls = reading.run["required_action"]["submit_tool_outputs"]["tool_calls"]
        await reading.submit(node.client, {call["id"]: "Sunny" for call in calls})

    async def finish(self, node: Node, other: Node) -> None:
        """Both readers go on, each at another node, until the run has ended; and then the next run of the thread."""
        await asyncio.gather(*self.reading)
        await asyncio.gather(self.here.follow(lambda: node.client), self.elsewhere.follow(lambda: other.client))
        if not self.here.ended:
            await self.submit(self.here, node)
            await self.here.follow(lambda: node.client)
        while not self.elsewhere.ended:
            await self.elsewhere.resume(other.client)
        self.here.check()
        self.elsewhere.check()
        talk = Talk(other.client, self.talk.assistant, self.talk.thread)
        run = await talk.get(self.here.run)
        assert run == self.here.run == self.elsewhere.run
        assert run["status"] == "completed", self.moment
        said = [message["content"][0]["text"]["value"] for message in await talk.messages()]
        assert said == [self.moment, MOMENTS[self.moment]]
        await other.client.post(f"{talk.path}/messages", {"role": "user", "content": "@say Again."})
        again = await talk.run(tools=[])
        await talk.until(again, "completed", seconds=20)


async def test_after_a_kill_other_nodes_end_every_run_once_and_tell_its_readers(tmp_path: Path) -> None:
    url, gate = database_url(tmp_path), asyncio.Event()
    async with ScriptedModel() as model:
        teach(model, gate)
        async with nodes(model, tmp_path, database_url=url, redis_url=shared_redis().url) as (works, other, third):
            visits = await asyncio.gather(*(Visit.begin(moment, works, other) for moment in MOMENTS))
            await asyncio.gather(*(visit.reach(works) for visit in visits))
            await model.until(lambda: len(model.chats) == len(MOMENTS) + 2, seconds=20)
            await works.kill()
            gate.set()
            await asyncio.gather(*(visit.finish(third, other) for visit in visits))
        broken = [visit.moment for visit in visits if "broken" in visit.here.ends]
        assert broken == [moment for moment in MOMENTS if moment != "waiting for outputs"]
        assert await check_end_state(url) == {"completed": 2 * len(MOMENTS)}
