"""How a server ends: at once, telling everybody, and with nothing lost."""

import asyncio
import socket
import time
from pathlib import Path

import aiohttp

from support.client import Client, Event
from support.model_server import Reply, ScriptedModel, Silence
from support.server import KEY, server_process
from support.talk import Talk

STREAMS = 100


async def test_a_server_that_is_stopped_tells_its_streams_and_hands_its_runs_on(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with ScriptedModel() as model:
        model.script(*(Reply("Half ", Silence(gate), "whole.") for _ in range(STREAMS)))
        with server_process(model.base_url, tmp_path) as server:
            async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as session:
                client = Client(session, KEY)
                talks = [await Talk.begin(client) for _ in range(STREAMS)]
                streams = [asyncio.create_task(talk.stream()) for talk in talks]
                for talk in talks:
                    await talk.until_it_speaks()
                began = time.monotonic()
                stopping = asyncio.create_task(asyncio.to_thread(server.stop))
                told: list[list[Event]] = await asyncio.gather(*streams)
                await stopping
                assert time.monotonic() - began < 5
        for events in told:
            assert [event.name for event in events[-2:]] == ["error", "done"]
            assert events[-2].data["error"]["message"].startswith("The stream ended before its run")
        port = int(server.url.rpartition(":")[2])
        socket.create_server(("127.0.0.1", port)).close()

        model.script(*(Reply("All of it.") for _ in range(STREAMS)))
        with server_process(model.base_url, tmp_path) as server:
            async with aiohttp.ClientSession(server.url) as session:
                client = Client(session, KEY)
                for talk, events in zip(talks, told, strict=True):
                    after = Talk(client, talk.assistant, talk.thread)
                    run = await after.until(events[0].data, "completed", seconds=10)
                    assert run["usage"] is not None
                    said = [message["content"][0]["text"]["value"] for message in await after.messages()]
                    assert said == ["What is 2+2?", "All of it."]
