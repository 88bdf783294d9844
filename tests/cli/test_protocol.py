"""What comes before a request's body is bounded: whoever sends it has not shown a key."""

import asyncio
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from support.server import ServerProcess, server_process
from understudy.api.sse import WRITE_NOW
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
        write_now = scope[WRITE_NOW]
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
        told.set_result(scope[WRITE_NOW](b"anybody there?"))

    async with await served(BoundedHttp, app) as listening:
        _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        writer.close()
        async with asyncio.timeout(5):
            assert await told is False


async def served(protocol: type[BoundedHttp], app: object) -> asyncio.Server:
    """A server of this protocol on a port of its own."""
    config = uvicorn.Config(app, lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    return await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=ServerState(), app_state={}), "127.0.0.1", 0
    )


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
