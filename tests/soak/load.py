"""Clients that begin runs of every kind and then do what clients do: wait, leave, come back, cancel, delete."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from support.client import Client, Event
from support.model_server import ErrorChunk, Garbage, Reply, ScriptedModel
from support.server import KEY
from support.talk import WEATHER, sent
from understudy.core.run.machine import RESTS, TERMINAL

__all__ = ["Load", "teach"]

SLOW: Final = "slow please"
GARBAGE: Final = "garbage please"
BROKEN: Final = "an error chunk please"
WISHES: Final = (
    "@say Four.",
    SLOW,
    SLOW,
    "@call weather {}",
    "@saycall weather {}",
    '@calls [{"name": "weather", "arguments": {}}, {"name": "weather", "arguments": {}}]',
    "@length Too long",
    "@filter Too rude",
    "@refuse No.",
    "@hang Half",
    "@cut Half",
    "@fail 400 No.",
    "@fail 429 Slow down.",
    "@fail 500 Broken.",
    "@fail 503 Busy.",
    GARBAGE,
    BROKEN,
)
ANSWER_SECONDS: Final = 45.0
TURNS_MAX: Final = 6


def teach(model: ScriptedModel) -> None:
    """The answers that no directive asks for."""

    def asked(words: str) -> Callable[[Any], bool]:
        return lambda received: words in str(received.body["messages"][-1]["content"])

    model.rule(asked(SLOW), Reply(*(f"word{number} " for number in range(40)), delay=0.05))
    model.rule(asked(GARBAGE), Reply("Half", Garbage()))
    model.rule(asked(BROKEN), Reply("Half", ErrorChunk()))


class Load:
    """`threads` are those that must still be there in the end."""

    def __init__(self, urls: Callable[[], list[str]], session: aiohttp.ClientSession, chance: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.threads: set[str] = set()
        self._urls = urls
        self._session = session
        self._chance = chance

    async def client(self) -> None:
        """One client for ever. Connections break and servers refuse; a 500 is never expected."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._visit()
            except (aiohttp.ClientError, OSError) as error:
                self.counts[f"client saw {type(error).__name__}"] += 1
            except TimeoutError:
                self.counts["client gave up"] += 1
            except AssertionError as refused:
                self._note_refusal(str(refused))
            await asyncio.sleep(self._chance.uniform(0, 0.2))

    def _note_refusal(self, words: str) -> None:
        self.counts[f"status {words[:3]}"] += 1
        if not words.startswith(("400", "404", "503")):
            self.violations.append(words[:300])

    def _server(self) -> Client:
        """Any of the servers that are there."""
        urls = self._urls()
        if not urls:
            raise ConnectionError("no server")
        return Client(self._session, KEY, url=self._chance.choice(urls))

    async def _visit(self) -> None:
        wish = self._chance.choice(WISHES)
        assistant = await self._server().post("/v1/assistants", {"model": "scripted-1", "tools": [WEATHER]})
        thread = await self._server().post("/v1/threads", {"messages": [{"role": "user", "content": wish}]})
        self.threads.add(thread["id"])
        path = f"/v1/threads/{thread['id']}/runs"
        body = {"assistant_id": assistant["id"]}
        mood = self._chance.choices(["streams", "leaves", "polls", "cancels", "deletes"], [4, 2, 2, 2, 1])[0]
        self.counts[f"client {mood}"] += 1
        match mood:
            case "streams":
                await self._follow(path, await self._stream(path, body), answers=True)
            case "leaves":
                seen = await self._stream(path, body, events_max=self._chance.randint(1, 12))
                await self._follow(path, seen, answers=self._chance.random() < 0.7)
            case "polls":
                await self._poll(path, await self._server().post(path, body))
            case _:
                run = await self._server().post(path, body)
                await asyncio.sleep(self._chance.uniform(0, 1.5))
                if mood == "cancels":
                    await self._server().post(f"{path}/{run['id']}/cancel")
                    await self._poll(path, run)
                else:
                    self.threads.discard(thread["id"])
                    await self._server().delete(f"/v1/threads/{thread['id']}")

    async def _stream(self, path: str, body: dict[str, Any], events_max: int = 10_000) -> list[Event]:
        seen: list[Event] = []
        async with self._server().open_stream(path, body) as events:
            async for event in events:
                seen.append(event)
                if len(seen) >= events_max:
                    break
        return seen

    async def _follow(self, path: str, seen: list[Event], *, answers: bool) -> None:
        """Reads on, on any server, until the run has ended, and answers its calls."""
        run = seen[0].data
        for _ in range(TURNS_MAX):
            last = next((event for event in reversed(seen) if event.id), None)
            if last is not None and last.name.startswith("thread.run.") and last.data.get("status") in RESTS:
                if last.data["status"] in TERMINAL or not answers:
                    self.counts[f"stream told {last.data['status']}"] += 1
                    return
                await self._answer(path, last.data)
            anew = any(event.name == "error" for event in seen)
            self.counts["stream told to read again" if anew else "stream resumed"] += 1
            seen = await self._resume(f"{path}/{run['id']}/stream", "" if anew or last is None else last.id)

    async def _resume(self, path: str, last_id: str) -> list[Event]:
        async with self._server().resume(path, last_id) as events:
            return [event async for event in events]

    async def _poll(self, path: str, run: dict[str, Any]) -> None:
        for _ in range(TURNS_MAX):
            run = await self._server().get(f"{path}/{run['id']}", wait=10)
            if run["status"] in TERMINAL:
                self.counts[f"poll told {run['status']}"] += 1
                return
            if run["status"] == "requires_action":
                await self._answer(path, run)

    async def _answer(self, path: str, run: dict[str, Any]) -> None:
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = sent(dict.fromkeys((call["id"] for call in calls), "Sunny"))
        await self._server().post(f"{path}/{run['id']}/submit_tool_outputs", outputs)
