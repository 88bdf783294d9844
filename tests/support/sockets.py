"""Requests as bytes on a socket, for what no HTTP library would send."""

import asyncio
from collections.abc import Iterable

__all__ = ["chunked", "request_bytes", "send_and_leave", "send_bytes"]


def request_bytes(method: str, path: str, key: str, body: bytes, **headers: str) -> bytes:
    """A whole request; names of headers with `_` for `-`."""
    given = {"host": "x", "authorization": f"Bearer {key}", "content_length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def chunked(pieces: Iterable[bytes]) -> bytes:
    """A body of unknown length, as HTTP/1.1 sends one."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


async def send_and_leave(port: int, sent: bytes) -> None:
    """Sends that, and closes the connection without waiting for anything."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    writer.close()
    await writer.wait_closed()


async def send_bytes(port: int, sent: bytes) -> tuple[int, bytes]:
    """The status and the rest of what comes back before the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(10):
            received = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    return int(received.split(b" ", 2)[1]), received
