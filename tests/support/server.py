"""The real server on a free port of 127.0.0.1: in the test's own event loop, or as a process of its own.

async with ScriptedModel() as model, running_server(model, tmp_path) as server:
    thread = await server.client.post("/v1/threads", {})

with server_process(model.base_url, tmp_path) as server:
    OpenAI(base_url=server.base_url, api_key=server.key)
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import uvicorn

from support.client import Client
from support.model_server import ScriptedModel
from support.pgvector import vector_database_url
from support.postgres import database_url
from understudy.app import create_app
from understudy.cli.protocol import BoundedHttp
from understudy.settings import Settings

__all__ = ["KEY", "ON_POSTGRES", "RunningServer", "ServerProcess", "running_server", "server_process"]

KEY = "sk-understudy-tests"
ENGINE = os.environ.get("UNDERSTUDY_TEST_ENGINE")
ON_POSTGRES = ENGINE in ("postgres", "pgvector")
START_SECONDS = 30.0
STOP_SECONDS = 10.0


class RunningServer:
    """A server in this event loop. `url` has no path, `base_url` ends in `/v1`."""

    def __init__(self, url: str, client: Client, settings: Settings) -> None:
        self.url = url
        self.base_url = url + "/v1"
        self.key = KEY
        self.client = client
        self.settings = settings


@contextlib.asynccontextmanager
async def running_server(model: ScriptedModel | None, data_dir: Path, **settings: Any) -> AsyncIterator[RunningServer]:
    """The app as `create_app` makes it, with its lifespan. A second one on the same `data_dir` finds the same rows.

    `settings` are fields of `Settings`; without a model the server has no model server at all.
    """
    given: dict[str, Any] = {
        "api_key": KEY,
        "upstream_base_url": model.base_url if model else None,
        "local_model": False,
        "log_level": "error",
    }
    given |= _rows(data_dir)
    chosen = Settings(**{**given, **settings, "data_dir": data_dir})
    listener = _listen()
    config = uvicorn.Config(create_app(chosen), lifespan="on", log_config=None, access_log=False, http=BoundedHttp)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        # Not `serve()`: it installs signal handlers, and looks only ten times a second whether it should end.
        await server.startup(sockets=[listener])
        async with aiohttp.ClientSession(url) as session:
            yield RunningServer(url, Client(session, KEY), chosen)
    finally:
        await _stop(server)
        listener.close()


def _rows(data_dir: Path) -> dict[str, Any]:
    """Where the rows are kept: UNDERSTUDY_TEST_ENGINE=postgres, or pgvector, tries it all on the other engine."""
    if ENGINE == "pgvector":
        return {"database_url": vector_database_url(data_dir), "vector_index": "pgvector"}
    return {"database_url": database_url(data_dir)} if ON_POSTGRES else {}


def _listen() -> socket.socket:
    # With the protocol named, asyncio sets TCP_NODELAY on what is accepted; without it each answer may wait 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


async def _stop(server: uvicorn.Server) -> None:
    listeners = getattr(server, "servers", [])  # absent when the lifespan failed to start
    for listener in listeners:
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    if server.started:
        await server.lifespan.shutdown()
    tasks = list(server.server_state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in list(server.server_state.connections):
        if connection.transport is not None:
            connection.transport.close()
    for listener in listeners:
        await listener.wait_closed()


class ServerProcess:
    """`understudy serve` in a process of its own. `log` holds the last lines that it wrote."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.base_url = url + "/v1"
        self.key = KEY
        self.process = process
        self.log: deque[str] = deque(maxlen=200)

    def kill(self) -> None:
        """The process ends at once, without a chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Asks the process to end, as a service manager does. Its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextlib.contextmanager
def server_process(
    upstream_base_url: str | None,
    data_dir: Path,
    *,
    program: Sequence[str] = ("-m", "understudy"),
    variables: Mapping[str, str] = MappingProxyType({}),
    **settings: object,
) -> Iterator[ServerProcess]:
    """Yields when the server answers. `settings` are given through the environment. Raises `RuntimeError`.

    `program`: what Python runs, and `variables`: what else stands in the environment.
    """
    port = _free_port()
    values = {
        "host": "127.0.0.1",
        "port": port,
        "data_dir": data_dir,
        "api_key": KEY,
        "upstream_base_url": upstream_base_url or "",
        "local_model": "false",
        "log_level": "warning",
        **_rows(data_dir),
        **settings,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    given = {f"UNDERSTUDY_{name.upper()}": str(value) for name, value in values.items()}
    process = subprocess.Popen(
        [sys.executable, *program, "serve"],
        env={**inherited, **given, **variables},
        cwd=data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = ServerProcess(f"http://127.0.0.1:{port}", process)
    reader = threading.Thread(target=_collect, args=(process, server.log))
    reader.start()
    try:
        _wait_until_listening(server, port)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
        reader.join()
        if process.stdout is not None:
            process.stdout.close()


def _collect(process: subprocess.Popen[str], log: deque[str]) -> None:
    # Somebody has to read the pipe, or the server blocks once it is full.
    assert process.stdout is not None
    log.extend(process.stdout)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_listening(server: ServerProcess, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)  # there is no event to wait on in another process's start
        else:
            return
    server.kill()
    raise RuntimeError("the server did not start:\n" + "".join(server.log))
