"""What comes before a request's body is bounded: whoever sends it has not shown a key."""

import asyncio
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from support.server import ServerProcess, server_process
from understudy.api.sse import LINE
from understudy.cli import protocol
from understudy.cli.protocol import BoundedHttp
from understudy.core.limits import HEAD_BYTES_MAX


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(None, tmp_path_factory.mktemp("protocol")) as running:
        yield running


async def sent(server: ServerProcess, *pieces: bytes) -> bytes:
    """All that the server answers to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def test_endless_headers_are_refused(server: ServerProcess) -> None:
    line = b"x-filler: " + b"y" * 1000 + b"\r\n"
    answer = await sent(server, b"GET /healthz HTTP/1.1\r\nhost: a\r\n", *[line] * (HEAD_BYTES_MAX // 500))
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b"reset"


async def test_a_long_body_is_no_long_head(server: ServerProcess) -> None:
    body = b'{"model": "m", "instructions": "' + b"z" * (3 * HEAD_BYTES_MAX) + b'"}'
    head = b"POST /v1/assistants HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
    head += b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n" % (server.key.encode(), len(body))
    assert (await sent(server, head, body)).startswith(b"HTTP/1.1 200 ")


async def test_head_is_answered_as_get_without_a_body(server: ServerProcess) -> None:
    answer = await sent(server, b"HEAD /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_head_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    closed = asyncio.Event()

    class Dripping(BoundedHttp):
        def connection_lost(self, exc: Exception | None) -> None:
            closed.set()
            super().connection_lost(exc)

    listening = await served(Dripping, lambda: None)
    async with listening:
        _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nx-slow:")
        async with asyncio.timeout(5):
            await closed.wait()
        writer.close()


async def test_a_piece_written_at_once_is_refused_where_it_would_have_to_wait_and_comes_in_its_place() -> None:
    told: list[bool] = []
    piece = b"0123456789abcdef" * 1024

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        write_now = scope[LINE].write_now
        told.append(write_now(b"too early"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while write_now(piece):
            told.append(True)
        told.append(write_now(b"refused still"))
        await send({"type": "http.response.body", "body": b"waited for", "more_body": True})
        told.append(write_now(b"last"))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        told.append(write_now(b"too late"))

    async with await served(BoundedHttp, app) as listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
    pieces = told.count(True) - 1
    assert pieces > 1
    assert told == [False, *[True] * pieces, False, True, False]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == chunked(*[piece] * pieces, b"waited for", b"last") + b"0\r\n\r\n"


async def test_nothing_is_written_at_once_to_a_client_that_has_left() -> None:
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set_result(scope[LINE].write_now(b"anybody there?"))

    async with await served(BoundedHttp, app) as listening:
        _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        writer.close()
        async with asyncio.timeout(5):
            assert await told is False


async def test_a_head_goes_out_with_what_follows_it_and_alone_where_nothing_does() -> None:
    follows = asyncio.Event()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        if scope["path"] == "/slow":
            await follows.wait()
        await send({"type": "http.response.body", "body": b"body", "more_body": False})

    class Counting(BoundedHttp):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(WriteCounter(transport, writes))  # type: ignore[arg-type]

    writes: list[bytes] = []
    async with await served(Counting, app) as listening, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET /quick HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nbody")
        assert len(writes) == 1
        writer.write(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        follows.set()
        assert await reader.readexactly(4) == b"body"
        assert len(writes) == 3
        writer.write(b"HEAD /quick HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /quick HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\nbody")
        writer.close()


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async with await served(BoundedHttp, app) as listening, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"body")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("long_body", [False, True])
async def test_whoever_asks_is_told_once_that_the_client_has_left(long_body: bool) -> None:
    """Also where a body was so long that the connection is not read from."""
    lost, begun, forgotten = asyncio.Event(), asyncio.Event(), list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        line = scope[LINE]
        line.when_lost(lambda: forgotten.append("told"))()
        line.when_lost(lost.set)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await lost.wait()
        again = asyncio.Event()
        line.when_lost(again.set)
        assert again.is_set()

    body = b"x" * (300_000 if long_body else 1)
    async with await served(BoundedHttp, app) as listening, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"\r\n\r\n")
        await begun.wait()
        writer.close()
        await lost.wait()
    assert forgotten == []


class WriteCounter:
    """A transport whose writes are kept."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, written: bytes) -> None:
        self._writes.append(written)
        self._transport.write(written)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


async def served(protocol: type[BoundedHttp], app: object) -> asyncio.Server:
    """A server of this protocol on a port of its own."""
    config = uvicorn.Config(app, lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    return await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=ServerState(), app_state={}), "127.0.0.1", 0
    )


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
