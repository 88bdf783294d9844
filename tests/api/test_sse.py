"""How an event stream ends when nothing in its run ends it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from starlette.types import Message

from support.client import Client
from support.model_server import Reply, ScriptedModel, Silence
from support.server import RunningServer
from support.store import Life, begun_thread, open_engine
from support.talk import polled
from understudy.api import sse
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


# Callers of the first version are answered without a `Line`: what they are told must be rewritten on its way.
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_silent_stream_is_kept_awake_and_ends_with_its_client(
    version: str, server: RunningServer, client: Client, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "PING_SECONDS", 0.02)
    closed: list[RunStream] = []
    close = RunStream.close
    monkeypatch.setattr(RunStream, "close", lambda stream: (closed.append(stream), close(stream)))
    model.script(Reply("One", Silence()))
    assistant = await client.post("/v1/assistants", {"model": "m"})
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    body = json.dumps({"assistant_id": assistant["id"], "thread": thread, "stream": True}).encode()
    head = f"POST /v1/threads/runs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {server.key}\r\n"
    head += f"openai-beta: assistants={version}\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    async with asyncio.timeout(5):
        writer.write(head.encode() + body)
        await reader.readuntil(b"thread.message.delta")
        for _ in range(3):
            await reader.readuntil(b": ping\n\n")
        assert closed == []
        writer.close()

        async def left() -> bool | None:
            return True if closed else None

        await polled(left)
    runs = f"/v1/threads/{(await client.get('/v1/threads'))['data'][0]['id']}/runs"
    (run,) = (await client.get(runs))["data"]
    assert run["status"] == "in_progress"
    await client.post(f"{runs}/{run['id']}/cancel")
