"""How an event stream ends when nothing in its run ends it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from starlette.types import Message

from support.store import Life, begun_thread, open_engine
from understudy.api.sse import EventStream
from understudy.bus.memory import MemoryBus
from understudy.core.errors import stream_broken
from understudy.engine.stream import RunStream
from understudy.ports import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine("sqlite", tmp_path) as opened:
        yield opened


async def test_a_stream_that_the_stopping_server_cuts_off_says_so(store: Store) -> None:
    """The SDKs take a stream without an end for a broken connection, and tell their users nothing else."""
    life = await Life.begin(store, await begun_thread(store))
    bus = MemoryBus(lambda: 0.0)
    sent: list[Message] = []
    begun = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            begun.set()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    stream = EventStream(RunStream(store, bus, life.id))
    serving = asyncio.create_task(stream({"type": "http"}, receive, send))
    await begun.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await bus.close()
    error, done = sent[-1]["body"].removesuffix(b"\n\n").split(b"\n\n")
    name, _, payload = error.partition(b"\n")
    assert name == b"event: error"
    told = msgspec.json.decode(payload.removeprefix(b"data: "))
    assert told["error"] == {"message": str(stream_broken()), "type": "server_error", "param": None, "code": None}
    assert done == b"event: done\ndata: [DONE]"
    assert sent[-1]["more_body"] is False
