"""An HTTP server that misbehaves to order: its script writes bytes, not answers. Real sockets on 127.0.0.1."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

LIMIT_SECONDS = 5.0


class Exchange(asyncio.Event):
    """One request, and the means to answer it. It is set when the client has closed the connection."""

    def __init__(self, head: bytes, body: bytes, transport: asyncio.Transport, connection: int) -> None:
        super().__init__()
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        self.body = body
        self.connection = connection
        self._transport = transport

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._transport.write(part)

    def head(self, status: int = 200, *headers: str, content_type: str | None = "text/event-stream") -> None:
        typed = [f"Content-Type: {content_type}"] if content_type else []
        self.send("\r\n".join([f"HTTP/1.1 {status} Said", *typed, *headers, "", ""]).encode())

    def stream(self, content_type: str | None = "text/event-stream") -> None:
        """Begins a chunked answer; `piece` goes on, `finish` ends it."""
        self.head(200, "Transfer-Encoding: chunked", content_type=content_type)

    def piece(self, body: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(body), body))

    def finish(self) -> None:
        self.send(b"0\r\n\r\n")

    def answer(self, status: int, body: bytes, *headers: str, content_type: str | None = "application/json") -> None:
        self.head(status, f"Content-Length: {len(body)}", *headers, content_type=content_type)
        self.send(body)

    def close(self) -> None:
        """An orderly end of the connection."""
        self._transport.close()

    def reset(self) -> None:
        """A connection that breaks."""
        self._transport.abort()

    async def gone(self) -> None:
        """Returns when the client has closed the connection; fails when it does not."""
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.wait()


Script = Callable[[Exchange], Awaitable[None]]


class RawServer:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.port = 0
        self.open: set[asyncio.Transport] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

        async def run() -> None:
            await self.script(exchange)

        task = asyncio.create_task(run())
        self.tasks.add(task)


class _Connection(asyncio.Protocol):
    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.buffer = b""
        self.exchanges: list[Exchange] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.server.connections += 1
        self.number = self.server.connections
        self.server.open.add(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, blank, rest = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if len(rest) >= length:
            self.buffer = rest[length:]
            exchange = Exchange(head, rest[:length], self.transport, self.number)
            self.exchanges.append(exchange)
            self.server.answer(exchange)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.server.open.discard(self.transport)
        for exchange in self.exchanges:
            exchange.set()


@asynccontextmanager
async def raw_server(script: Script) -> AsyncIterator[RawServer]:
    """The scripts' own failures fail the test that uses it."""
    server = RawServer(script)
    listener = await asyncio.get_running_loop().create_server(lambda: _Connection(server), "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for transport in list(server.open):
            transport.abort()
        for task in server.tasks:
            task.cancel()
        outcomes = await asyncio.gather(*server.tasks, return_exceptions=True)
        await listener.wait_closed()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
