"""Clients that talk on at any of several nodes, whatever happens to these, and know what must have come of it.

talkers = [Talker(lambda: chance.choice(three).client) for _ in range(9)]
async with talking(talkers):
    postgres.stop()
    ...
for talker in talkers:
    await talker.check()
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from support.client import Client
from support.reading import BROKEN, Reading
from support.talk import polled

__all__ = ["Talker", "all_went_on", "talking"]

T = TypeVar("T")

PAUSE_SECONDS: Final = 0.05
END_SECONDS: Final = 90.0


class Talker:
    """One thread, on which one run follows the other. `node` gives a client of any node; it may raise as that does."""

    def __init__(self, node: Callable[[], Client]) -> None:
        self.readings: list[Reading] = []
        self.refusals = 0
        self.path = ""
        self._node = node
        self._assistant: dict[str, Any] = {}
        self._acknowledged: list[str] = []
        self._unsure: list[str] = []

    @property
    def disturbed(self) -> bool:
        """Whether it was ever refused anything, or had a stream broken off."""
        return self.refusals > 0 or any(reading.ends != ["done"] for reading in self.readings)

    async def talk(self, stop: asyncio.Event) -> None:
        self._assistant = await self._insist(lambda client: client.post("/v1/assistants", {"model": "gpt-4o"}))
        thread = await self._insist(lambda client: client.post("/v1/threads", {}))
        self.path = f"/v1/threads/{thread['id']}"
        while not stop.is_set():
            await self._say(f"@say Answer {len(self.readings)} of four words")
            await self._hear()

    async def _insist(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """The answer, at last. Connections may break, and nodes say that they cannot now; nothing else may happen."""
        while True:
            try:
                return await ask(self._node())
            except BROKEN:
                self.refusals += 1
            except AssertionError as refused:
                self.refusals += 1
                if not str(refused).startswith("503"):
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def _say(self, words: str) -> None:
        """Each try says something else: one that was refused may have been written, or not."""
        tries = 0

        async def say(client: Client) -> str:
            nonlocal tries
            tries += 1
            text = f"{words}, try {tries}."
            self._unsure.append(text)
            await client.post(f"{self.path}/messages", {"role": "user", "content": text})
            return text

        text = await self._insist(say)
        self._unsure.remove(text)
        self._acknowledged.append(text)

    async def _hear(self) -> None:
        reading = Reading(self.path)
        while reading.run_id is None:
            await self._start(reading)
        self.readings.append(reading)
        await reading.follow(self._node)

    async def _start(self, reading: Reading) -> None:
        try:
            await reading.start(self._node(), self._assistant)
        except BROKEN:
            self.refusals += 1
        except AssertionError as refused:
            self.refusals += 1
            if not str(refused).startswith(("503", "400")):  # 400: an earlier try has begun a run after all
                raise
        if reading.run_id is None:
            # The run may have been begun although its answer was lost.
            await asyncio.sleep(PAUSE_SECONDS)
            page = await self._insist(lambda client: client.get(f"{self.path}/runs", limit=1))
            known = {one.run_id for one in self.readings}
            reading.run_id = next((run["id"] for run in page["data"] if run["id"] not in known), None)

    async def _messages(self, client: Client) -> list[dict[str, Any]]:
        """All of the thread's, oldest first: nodes that take long to stop leave time for many."""
        page = await client.get(f"{self.path}/messages", order="asc", limit=100)
        found: list[dict[str, Any]] = page["data"]
        while page["has_more"]:
            page = await client.get(f"{self.path}/messages", order="asc", limit=100, after=found[-1]["id"])
            found += page["data"]
        return found

    async def check(self) -> None:
        """Raises `AssertionError` unless each message stands there once, and each run has ended as its stream told."""
        client = self._node()
        for reading in self.readings:
            reading.check(torn=True)
            assert reading.run == await client.get(f"{self.path}/runs/{reading.run_id}")
            assert reading.run["status"] == "completed", reading.run["last_error"]
        messages = await self._messages(client)
        texts = [message["content"][0]["text"]["value"] for message in messages]
        of_users = [text for text, message in zip(texts, messages, strict=True) if message["role"] == "user"]
        kept = [text for text in of_users if text not in self._unsure]
        assert kept == self._acknowledged, (kept, self._acknowledged)
        assert len(set(of_users)) == len(of_users), of_users
        answered = [message["run_id"] for message in messages if message["role"] == "assistant"]
        runs = [reading.run_id for reading in self.readings]
        assert answered == runs, (answered, runs)
        again = await client.post(f"{self.path}/runs", {"assistant_id": self._assistant["id"]})

        async def ended() -> bool | None:
            run = await client.get(f"{self.path}/runs/{again['id']}")
            return True if run["status"] == "completed" else None

        await polled(ended, seconds=30)

    async def _messages(self, client: Client) -> list[dict[str, Any]]:
        """All of them, oldest first."""
        found: list[dict[str, Any]] = []
        query: dict[str, str | int] = {"order": "asc", "limit": 100}
        while True:
            page = await client.get(f"{self.path}/messages", **query)
            found += page["data"]
            if not page["has_more"]:
                return found
            query["after"] = page["last_id"]


@asynccontextmanager
async def talking(talkers: Sequence[Talker]) -> AsyncIterator[None]:
    """They talk, and have all ended their last run when this is left."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(talker.talk(stop)) for talker in talkers]
    try:
        yield
        stop.set()
        async with asyncio.timeout(END_SECONDS):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_went_on(talkers: Sequence[Talker]) -> None:
    """Waits until each has begun two more runs."""
    before = [len(talker.readings) for talker in talkers]

    async def look() -> bool | None:
        now = [len(talker.readings) for talker in talkers]
        return True if all(new >= old + 2 for old, new in zip(before, now, strict=True)) else None

    await polled(look, seconds=60)
