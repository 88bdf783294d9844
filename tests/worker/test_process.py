"""A real process that is killed in the middle of a text."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from support.client import Client, Event
from support.model_server import Reply, ScriptedModel, Silence, model_in_thread
from support.server import ServerProcess, server_process
from support.talk import Talk


@asynccontextmanager
async def client_of(server: ServerProcess) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(server.url) as session:
        yield Client(session, server.key)


async def read_until_it_speaks(events: AsyncIterator[Event]) -> list[str]:
    names = []
    async for event in events:
        names.append(event.name)
        if event.name == "thread.message.delta":
            return names
    raise AssertionError(f"the stream ended with {names[-1:]}")


def let_leases_run_out(data_dir: Path) -> int:
    """As if the time had passed. How many leases there were."""
    with closing(sqlite3.connect(data_dir / "understudy.db")) as connection, connection:
        return connection.execute("UPDATE runs SET lease_until = 0 WHERE lease_owner IS NOT NULL").rowcount


async def test_a_killed_process_leaves_a_run_that_the_next_one_ends(tmp_path: Path) -> None:
    with model_in_thread(ScriptedModel()) as model:
        model.script(Reply("Half", Silence()), Reply("Whole."))
        with server_process(model.base_url, tmp_path) as first:
            async with client_of(first) as client:
                talk = await Talk.begin(client)
                body = {"assistant_id": talk.assistant["id"]}
                async with client.open_stream(f"{talk.path}/runs", body) as events:
                    await read_until_it_speaks(events)
                    run = await talk.newest_run()
                    first.kill()
                    with pytest.raises(aiohttp.ClientError):
                        await read_until_it_speaks(events)
        assert let_leases_run_out(tmp_path) == 1
        with server_process(model.base_url, tmp_path) as second:
            async with client_of(second) as client:
                talk = Talk(client, talk.assistant, talk.thread)
                ended = await talk.until(run, "completed", "failed")
                assert ended["status"] == "completed"
                texts = [one["content"][0]["text"]["value"] for one in await talk.messages()]
                assert texts == ["What is 2+2?", "Whole."]
                assert [step["status"] for step in await talk.steps(run)] == ["completed"]
                await client.post(f"{talk.path}/messages", {"role": "user", "content": "Go on."})
