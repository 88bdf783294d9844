"""A client that reads a run's stream over as many connections, and nodes, as it takes; strict about what it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Literal

import aiohttp

from support.client import Client, Event
from support.readable import check_readable
from support.talk import polled
from understudy.core import errors
from understudy.core.run.machine import RESTS, TERMINAL
from understudy.engine.position import Position

__all__ = ["BROKEN", "Reading"]

BROKEN: Final = (aiohttp.ClientError, ConnectionError)
FOLLOW_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.05


class Reading:
    """`events` is what a client has that resumes, or begins again where it is told to; `ends` how connections ended."""

    def __init__(self, thread_path: str) -> None:
        self.events: list[Event] = []
        self.ends: list[Literal["done", "error", "broken"]] = []
        self.begun_anew = 0
        self.run_id: str | None = None
        self._path = thread_path
        self._position = Position()

    @property
    def run(self) -> dict[str, Any]:
        """As the stream has told it last."""
        return next(event.data for event in reversed(self.events) if event.data["object"] == "thread.run")

    @property
    def rests(self) -> bool:
        return bool(self.events) and self.events[-1].data["object"] == "thread.run" and self.run["status"] in RESTS

    @property
    def ended(self) -> bool:
        return self.rests and self.run["status"] in TERMINAL

    async def start(self, client: Client, assistant: Mapping[str, Any]) -> None:
        """Begins a run and reads to the end of that connection."""
        await self.take(client, f"{self._path}/runs", {"assistant_id": assistant["id"]})

    async def submit(self, client: Client, outputs: Mapping[str, str]) -> None:
        """Answers the run's calls and reads to the end of that connection."""
        sent = [{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()]
        await self.take(client, f"{self._path}/runs/{self.run_id}/submit_tool_outputs", {"tool_outputs": sent})

    async def take(self, client: Client, path: str, body: dict[str, Any]) -> None:
        try:
            async with client.open_stream(path, body) as events:
                await self._take(events)
        except BROKEN:
            self.ends.append("broken")

    async def resume(self, client: Client) -> None:
        """Reads on behind what it has, to the end of that connection."""
        assert self.run_id is not None
        last = str(self._position) if self._position.seq else ""
        try:
            async with client.resume(f"{self._path}/runs/{self.run_id}/stream", last) as events:
                await self._take(events)
        except BROKEN:
            self.ends.append("broken")

    async def follow(self, node: Callable[[], Client]) -> None:
        """Reads on until the run rests, at any `node` each time. What is refused is asked again, as the SDKs do."""
        async with asyncio.timeout(FOLLOW_SECONDS):
            while not self.rests:
                try:
                    await self.resume(node())
                except AssertionError as refused:
                    if not str(refused).startswith("503"):
                        raise
                if not self.rests:
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _take(self, events: AsyncIterator[Event]) -> None:
        done, told_anew, error = False, False, False
        async for event in events:
            assert not done, f"{event.name} behind done"
            if event.name == "done":
                done = True
            elif event.name == "error":
                error = True
                told_anew = event.data["error"]["message"] == errors.begun_anew().message
            elif event.id:
                self._add(event)
        assert done, "a stream that ended as if it were whole"
        self.ends.append("error" if error else "done")
        if told_anew:
            self.begun_anew += 1
            self.events.clear()
            self._position = Position()
        else:
            assert error or self.rests, f"done behind {self.events[-1].name}"

    def _add(self, event: Event) -> None:
        position = Position.parse(event.id)
        assert position is not None
        assert position > self._position, f"{event.name} {position} behind {self._position}"
        self._position = position
        if event.data["object"] == "thread.run":
            self.run_id = event.data["id"]
        self.events.append(event)

    async def until(self, name: str, *, seconds: float = 20.0) -> None:
        """Waits until an event of that name has come."""

        async def look() -> bool | None:
            return True if any(event.name == name for event in self.events) else None

        await polled(look, seconds=seconds)

    def check(self, *, torn: bool = False) -> None:
        """Raises `AssertionError` unless this is one whole run, each of its messages told once.

        `torn`: where the reader may have missed deltas, the end of a text may come with its last fact alone.
        """
        assert self.ended, self.ends
        check_readable([(event.name, event.data) for event in self.events])
        told: dict[str, str] = {}
        for event in self.events:
            match event.name:
                case "thread.message.delta":
                    pieces = [part["text"].get("value", "") for part in event.data["delta"]["content"]]
                    told[event.data["id"]] = told.get(event.data["id"], "") + "".join(pieces)
                case "thread.message.completed" | "thread.message.incomplete":
                    said = "".join(part["text"]["value"] for part in event.data["content"])
                    text = told.get(event.data["id"], "")
                    assert text == said or (torn and said.startswith(text)), (text, said)
