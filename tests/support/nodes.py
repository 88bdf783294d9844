"""Several real servers, each a process of its own on 127.0.0.1, that share a database.

async with nodes(model, tmp_path, database_url=database_url(tmp_path)) as (a, b, c):
    talk = await Talk.begin(a.client)
    await a.kill()
"""

import asyncio
import contextlib
import json
import resource
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp

from support.client import Client
from support.model_server import ScriptedModel
from support.server import KEY, ServerProcess, server_process

__all__ = ["LONG_LEASES", "Node", "nodes"]

# What tests need not wait for as long as operators do. They are no settings: nothing but a test wants them otherwise.
LIMITS: Final[Mapping[str, float]] = MappingProxyType(
    {"LEASE_SECONDS": 3.0, "LEASE_RENEW_SECONDS": 1.0, "SWEEP_SECONDS": 0.25, "INGEST_RETRY_SECONDS": 0.5}
)
# For tests in which nobody is to take over a run: a busy machine may keep a node waiting for longer than the above.
LONG_LEASES: Final[Mapping[str, float]] = MappingProxyType({"LEASE_SECONDS": 30.0})
# Before anything else is imported: names that were imported from there keep the old numbers.
_PROGRAM: Final = """
import json, os
from understudy import entropy
from understudy.core import limits

for name, number in json.loads(os.environ["NODE_LIMITS"]).items():
    assert hasattr(limits, name), name
    setattr(limits, name, number)
machine_time, ahead = entropy.now, float(os.environ["NODE_AHEAD_SECONDS"])
entropy.now = lambda: machine_time() + ahead
from understudy.cli.main import main

main()
"""
CRASHES: Final = ("request_crashed", "run_crashed", "chore_crashed", "run_dropped", "file_dropped", "Exception in ASGI")


class Node:
    """One server, and the next one in its place. Its clock is `ahead` of this machine's by that many seconds."""

    def __init__(
        self,
        model: ScriptedModel,
        data_dir: Path,
        session: aiohttp.ClientSession,
        *,
        ahead: float,
        limits: Mapping[str, float],
        **settings: object,
    ) -> None:
        self.crashes: list[str] = []
        self.alive = False
        self._model = model
        self._data_dir = data_dir
        self._session = session
        self._settings = settings
        self._variables = {"NODE_LIMITS": json.dumps({**LIMITS, **limits}), "NODE_AHEAD_SECONDS": str(ahead)}
        self._running = ExitStack()
        self._server: ServerProcess | None = None

    @property
    def server(self) -> ServerProcess:
        assert self._server is not None
        return self._server

    @property
    def client(self) -> Client:
        return Client(self._session, KEY, url=self.server.url)

    async def start(self) -> None:
        """On a new port each time."""
        await asyncio.to_thread(self._start)
        self.alive = True

    def _start(self) -> None:
        opened = server_process(
            self._model.base_url,
            self._data_dir,
            program=("-c", _PROGRAM),
            variables=self._variables,
            **self._settings,
        )
        self._server = self._running.enter_context(opened)

    async def kill(self) -> None:
        """It ends at once, as with a machine that loses its power."""
        self.alive = False
        self.server.process.kill()
        await self._gone()

    async def stop(self) -> None:
        """It ends as a service manager has it end."""
        if self.alive and self.server.process.poll() is not None:
            self.crashes += ["a node ended by itself:\n", *self.server.log]
        self.alive = False
        if self._server is not None and self._server.process.poll() is None:
            self.wake()
            self._server.process.send_signal(signal.SIGTERM)
        await self._gone()

    async def _gone(self) -> None:
        await asyncio.to_thread(self._running.close)
        if self._server is not None:
            log = [*self._server.log]
            first = next((at for at, line in enumerate(log) if any(word in line for word in CRASHES)), len(log))
            self.crashes += log[first:]

    def pause(self) -> None:
        self.server.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.server.process.send_signal(signal.SIGCONT)

    def logged(self, word: str) -> bool:
        return any(word in line for line in self.server.log)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """No file of its own can grow, as on a full disk."""
        pid = self.server.process.pid
        old = resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, old)


@asynccontextmanager
async def nodes(
    model: ScriptedModel,
    data_dir: Path,
    *,
    ahead: Sequence[float] = (0.0, 0.0, 0.0),
    limits: Mapping[str, float] = MappingProxyType({}),
    **settings: object,
) -> AsyncIterator[list[Node]]:
    """As many as there are numbers in `ahead`, started at the same moment; none may have crashed in the end.

    `limits` are numbers of `core/limits.py` that they are to have.
    """
    # A connection that was kept would be closed by its node at times just when it is used again.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        made = [Node(model, data_dir, session, ahead=seconds, limits=limits, **settings) for seconds in ahead]
        try:
            await asyncio.gather(*(node.start() for node in made))
            yield made
        except BaseException as error:
            await asyncio.gather(*(node.stop() for node in made))
            error.add_note(_crashes(made))
            raise
        await asyncio.gather(*(node.stop() for node in made))
        assert not _crashes(made), _crashes(made)


def _crashes(made: Sequence[Node]) -> str:
    return "".join(line for node in made for line in node.crashes)
