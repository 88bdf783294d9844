"""How a process of the measurements lives: it says its port, and ends when whoever started it closes its input."""

import asyncio
import sys
from collections.abc import Coroutine

import uvloop


def run(main: Coroutine[None, None, None]) -> None:
    """On the event loop that Understudy runs on too."""
    uvloop.run(main)


async def serve_until_stdin_ends(port: int) -> None:
    print(port, flush=True)
    await lines().read()


def lines() -> asyncio.StreamReader:
    """This process's input. To be called once."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    connected = loop.create_task(loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin))
    connected.add_done_callback(lambda task: task.result())
    return reader
