"""A server that is killed: its streams break as connections do, and the next one ends its runs, each said once."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from support.client import Client, Event
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.readable import check_readable
from support.server import KEY, server_process
from support.talk import WEATHER, Talk, polled

# Where a run is when its server is killed: what the model has said by then, and what it says when it is asked again.
MOMENTS: Final[dict[str, tuple[Reply, str]]] = {
    "before the first token": (Reply(Silence(before_headers=True)), "@say Whole."),
    "mid-text": (Reply("Half", Silence()), "@say Whole."),
    "between calls": (
        Reply("First", Call("call_a", "weather", "{}"), Silence()),
        '@calls [{"name": "weather", "arguments": {}}, {"name": "weather", "arguments": {}}]',
    ),
    "waiting for outputs": (Reply(Call("call_a", "weather", "{}")), "@say Never asked."),
}
SAID: Final = {
    "before the first token": ["Whole."],
    "mid-text": ["Whole."],
    "between calls": ["The tools say: Sunny; Sunny"],
    "waiting for outputs": ["The tools say: Sunny"],
}


class Reader:
    """A client that reads a run's stream until its connection breaks."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.events: list[Event] = []
        self.resting = asyncio.Event()  # its run rests, and the stream behind that is open
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        body = {"assistant_id": self.talk.assistant["id"]}
        async with self.talk.client.open_stream(f"{self.talk.path}/runs", body) as events:
            await self._take(events)
        if self.events[-1].name == "done":
            self.events.pop()
            async with self.talk.client.resume(self._path, self.events[-1].id) as events:
                self.resting.set()
                await self._take(events)

    async def _take(self, events: Any) -> None:
        async for event in events:
            self.events.append(event)

    @property
    def run(self) -> dict[str, Any]:
        run: dict[str, Any] = self.events[0].data
        return run

    @property
    def _path(self) -> str:
        return f"{self.talk.path}/runs/{self.run['id']}/stream"

    async def until(self, *names: str) -> None:
        async def look() -> bool | None:
            return True if self.events and self.events[-1].name in names else None

        await polled(look)

    async def broken(self) -> None:
        """How it ended: as a connection does that was cut, not as an answer that is over."""
        with pytest.raises(aiohttp.ClientPayloadError):
            await self._task

    async def go_on(self, client: Client) -> None:
        """Reads to the next rest: from where the connection broke, or again where that has been discarded."""
        last = self.events[-1].id if self.events else ""
        async with client.resume(self._path, last) as events:
            resumed = [event async for event in events]
        assert resumed.pop().name == "done"
        if resumed[-1].name == "error":
            assert "again" in resumed[-1].data["error"]["message"]
            run = self.run
            async with client.resume(self._path) as events:
                self.events = [event async for event in events][:-1]
            assert self.run["id"] == run["id"]
        else:
            self.events += resumed


async def test_after_a_kill_every_run_ends_once_wherever_it_was(tmp_path: Path) -> None:
    async with ScriptedModel() as model:
        readers: dict[str, Reader] = {}
        with server_process(model.base_url, tmp_path) as server:
            async with aiohttp.ClientSession(server.url) as session:
                for moment, (reply, asks) in MOMENTS.items():
                    model.script(reply)
                    talk = await Talk.begin(Client(session, KEY), content=asks, tools=[WEATHER])
                    readers[moment] = Reader(talk)
                    await model.until(lambda: len(model.chats) == len(readers))
                await readers["before the first token"].until("thread.run.in_progress")
                await readers["mid-text"].until("thread.message.delta")
                await readers["between calls"].until("thread.run.step.delta")
                await readers["waiting for outputs"].resting.wait()
                server.kill()
                for reader in readers.values():
                    await reader.broken()
        let_leases_run_out(tmp_path)
        with server_process(model.base_url, tmp_path) as server:
            async with aiohttp.ClientSession(server.url) as session:
                await asyncio.gather(
                    *(check_end(moment, reader, Client(session, KEY)) for moment, reader in readers.items())
                )


def let_leases_run_out(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / "understudy.db", isolation_level=None)) as connection:
        held = connection.execute("UPDATE runs SET lease_until = 0 WHERE lease_until IS NOT NULL")
        assert held.rowcount == 3


async def check_end(moment: str, reader: Reader, client: Client) -> None:
    talk = Talk(client, reader.talk.assistant, reader.talk.thread)
    run = reader.events[-1].data
    if moment != "waiting for outputs":
        await reader.go_on(client)
        run = reader.events[-1].data
    if run["status"] == "requires_action":
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        reader.events += (await talk.submit_streaming(run, **{call["id"]: "Sunny" for call in calls}))[:-1]
    assert reader.events[-1].name == "thread.run.completed", moment
    run = await talk.get(reader.run)
    assert run == reader.events[-1].data
    assert run["usage"] is not None, moment
    check_readable([(event.name, event.data) for event in reader.events])
    said = [message["content"][0]["text"]["value"] for message in (await talk.messages())[1:]]
    assert said == SAID[moment], moment
    assert all(step["status"] == "completed" for step in await talk.steps(run)), moment
    await client.post(f"{talk.path}/messages", {"role": "user", "content": "Thank you."})
