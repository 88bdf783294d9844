"""A daemon of sandboxes on 127.0.0.1, in the test's own process, over sandboxes of the test's choice."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn

from understudy.cli.protocol import BoundedHttp
from understudy.ports import Sandboxes
from understudy.sandbox.daemon import Daemon

__all__ = ["KEY", "daemon_over"]

KEY = "sk-of-the-sandboxes-daemon"


@contextlib.asynccontextmanager
async def daemon_over(sandboxes: Sandboxes, folder: Path, **options: int) -> AsyncIterator[str]:
    """Its base URL."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - at once
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            Daemon(sandboxes, KEY, folder, **options),
            http=BoundedHttp,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        # Not `serve`: its signal handlers are for a process of its own.
        serving = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
