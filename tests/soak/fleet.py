"""Two server processes on one database, and what is done to them: one is killed now and then, the other lives on."""

import asyncio
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from support.server import ServerProcess, server_process
from understudy.core.limits import LEASE_SECONDS

__all__ = ["LIFETIME_SECONDS", "Fleet"]

LIFETIME_SECONDS: Final = 20
PAUSE_SECONDS: Final = LEASE_SECONDS + 2.5
FULL_SECONDS: Final = 2.0
GAP_SECONDS: Final = (3.0, 8.0)
CRASHES: Final = ("request_crashed", "run_crashed", "chore_crashed", "run_dropped", "Traceback")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Host:
    """One server, and the next one in its place. `url` is `None` while there is none."""

    def __init__(self, upstream: str, data_dir: Path, lines: list[str]) -> None:
        self._upstream = upstream
        self._data_dir = data_dir
        self._lines = lines
        self._server: ServerProcess | None = None
        self._running = ExitStack()

    @property
    def url(self) -> str | None:
        return None if self._server is None else self._server.url

    @property
    def server(self) -> ServerProcess:
        assert self._server is not None
        return self._server

    async def start(self) -> None:
        settings = {"run_lifetime_seconds": LIFETIME_SECONDS}
        opened = server_process(self._upstream, self._data_dir, **settings)
        self._server = await asyncio.to_thread(self._running.enter_context, opened)

    async def end(self, how: Callable[[ServerProcess], object]) -> None:
        server, self._server = self.server, None
        await asyncio.to_thread(how, server)
        await asyncio.to_thread(self._running.close)
        self._lines += [line for line in server.log if any(word in line for word in CRASHES)]

    def signal(self, number: signal.Signals) -> None:
        self.server.process.send_signal(number)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No file of the process can grow, as on a full disk."""
        pid = self.server.process.pid
        old = resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, old)

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1]) * _PAGE_BYTES


class Fleet:
    def __init__(self, upstream: str, data_dir: Path, chance: random.Random) -> None:
        self.crashes: list[str] = []
        self.faults: Counter[str] = Counter()
        self.resident: list[tuple[float, int]] = []  # of the one that lives on: seconds, bytes
        self._chance = chance
        self._steady = Host(upstream, data_dir, self.crashes)
        self._battered = Host(upstream, data_dir, self.crashes)

    async def start(self) -> None:
        await self._steady.start()
        await self._battered.start()

    async def stop(self) -> None:
        for host in (self._battered, self._steady):
            if host.url is not None:
                host.signal(signal.SIGCONT)
                await host.end(ServerProcess.stop)

    def urls(self) -> list[str]:
        return [host.url for host in (self._steady, self._battered) if host.url is not None]

    async def watch(self) -> None:
        """Writes down, every second, how much memory the steady server has."""
        began = time.monotonic()
        while True:
            self.resident.append((time.monotonic() - began, self._steady.resident_bytes()))
            await asyncio.sleep(1)

    async def suffer(self, seconds: float) -> None:
        """One fault after the other, each kind as often as the others. At its end both servers are there."""
        faults: dict[str, Callable[[], Awaitable[None]]] = {
            "killed": lambda: self._again(ServerProcess.kill),
            "killed once more": lambda: self._again(ServerProcess.kill),
            "stopped": lambda: self._again(ServerProcess.stop),
            "the steady one paused": lambda: self._pause(self._steady),
            "the battered one paused": lambda: self._pause(self._battered),
            "no room on the disk": self._fill,
        }
        deadline = time.monotonic() + seconds
        waiting: list[str] = []
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self._chance.uniform(*GAP_SECONDS)))
            waiting = waiting or self._chance.sample(list(faults), len(faults))
            name = waiting.pop()
            if time.monotonic() + PAUSE_SECONDS < deadline or "paused" not in name:
                self.faults[name] += 1
                await faults[name]()

    async def _again(self, how: Callable[[ServerProcess], object]) -> None:
        await self._battered.end(how)
        await asyncio.sleep(self._chance.uniform(0, 2))
        await self._battered.start()

    async def _pause(self, host: Host) -> None:
        host.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            host.signal(signal.SIGCONT)

    async def _fill(self) -> None:
        with self._steady.full_disk(), self._battered.full_disk():
            await asyncio.sleep(FULL_SECONDS)
