"""How an event stream ends when nothing in its run ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from starlette.types import Message

from support.store import Life, begun_thread, open_engine
from understudy.api.sse import LINE, EventStream
from understudy.bus.memory import MemoryBus
from understudy.core.errors import stream_broken
from understudy.engine.stream import RunStream
from understudy.ports import Frame, Store


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


async def test_a_server_that_can_write_at_once_is_given_frames_in_order_between_the_first_and_the_last(
    store: Store,
) -> None:
    life = await Life.begin(store, await begun_thread(store))
    bus = MemoryBus(lambda: 0.0)
    body: list[bytes] = []
    first_sent = asyncio.Event()
    by_hand = 0
    bus.publish(life.id, [Frame(1, "thread.run.created", b"event: thread.run.created\n\n")])

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            body.append(message["body"])
            first_sent.set()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    class Connection:
        def write_now(self, piece: bytes) -> bool:
            nonlocal by_hand
            by_hand += 1
            body.append(piece)
            return True

        def when_lost(self, call: Callable[[], None]) -> Callable[[], None]:
            watched.append(call)
            return lambda: watched.remove(call)

    watched: list[Callable[[], None]] = []
    stream = EventStream(RunStream(store, bus, life.id), first=b"event: first\n\n")
    serving = asyncio.create_task(stream({"type": "http", LINE: Connection()}, receive, send))
    await first_sent.wait()
    await asyncio.sleep(0)
    assert len(watched) == 1
    bus.publish(life.id, [Frame(2, "thread.run.in_progress", b"event: thread.run.in_progress\n\n")])
    bus.publish(life.id, [Frame(None, "thread.message.delta", b"event: thread.message.delta\n\n")])
    assert by_hand == 2
    bus.publish(life.id, [Frame(3, "thread.run.completed", b"event: thread.run.completed\n\n")])
    await serving
    await bus.close()
    assert (by_hand, watched) == (2, [])
    assert b"".join(body) == (
        b"event: first\n\nid: 1\nevent: thread.run.created\n\n"
        b"id: 2\nevent: thread.run.in_progress\n\nid: 2.1\nevent: thread.message.delta\n\n"
        b"id: 3\nevent: thread.run.completed\n\nevent: done\ndata: [DONE]\n\n"
    )
