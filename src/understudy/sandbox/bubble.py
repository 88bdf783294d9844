"""One running bubblewrap with its Python: pipes, signals, and its end, which leaves no process behind."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import msgspec
import structlog
from msgspec import Struct

from understudy.core.limits import SANDBOX_READ_BYTES, SANDBOX_START_SECONDS, SANDBOX_STOP_SECONDS
from understudy.ports import SandboxUnavailable
from understudy.sandbox import tree
from understudy.sandbox.cgroup import Cgroup
from understudy.sandbox.diagnosis import diagnosed
from understudy.sandbox.launcher import Launched, Launcher

__all__ = ["Bubble", "Inlet"]

log = structlog.get_logger(__name__)

_SAID_BYTES_MAX: Final = 16 * 1024  # of what is said before the start, by bubblewrap or Python


class Inlet:
    """Our end of a pipe that somebody writes whom we do not trust."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self.is_open = True

    def read(self, size: int = SANDBOX_READ_BYTES) -> bytes:
        """What is there now; nothing when nothing is, or when it has ended: then `is_open` is false."""
        if not self.is_open:
            return b""
        try:
            block = os.read(self._descriptor, size)
        except BlockingIOError:
            return b""
        self.is_open = bool(block)
        return block

    def call_when_readable(self, wake: Callable[[], None]) -> None:
        if self.is_open:
            self._loop.add_reader(self._descriptor, wake)

    def leave_alone(self) -> None:
        self._loop.remove_reader(self._descriptor)


class _Status(Struct, frozen=True, rename="kebab"):
    child_pid: int


class Bubble:
    """Made by `start`. `lost` is why it was killed, once it was."""

    def __init__(self, launched: Launched, cgroup: Cgroup | None) -> None:
        self.logs = Inlet(launched.logs)
        self.events = Inlet(launched.events)
        self.lost: str | None = None
        self.root = 0  # the first process inside, by its number outside
        self._launched = launched
        self._cgroup = cgroup
        self._stirred = asyncio.Event()
        self._gone = asyncio.Event()
        self._root_descriptor: int | None = None
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self._python: tree.Member | None = None
        self._running: dict[int, Callable[[], None]] = {}  # descriptors of processes -> what to do at their end
        self._watch_end(launched.process.pid, self._reap)

    @classmethod
    async def start(cls, launcher: Launcher, data: Path, cgroup: Cgroup | None) -> Self:
        """A Python that is ready for code. Raises `SandboxUnavailable`, with what mends it."""
        try:
            launched = await launcher.start(data, blocked=cgroup is not None)
        except BaseException:
            if cgroup is not None:
                cgroup.remove()
            raise
        bubble = cls(launched, cgroup)
        try:
            async with asyncio.timeout(SANDBOX_START_SECONDS):
                await bubble._enter()
                await bubble._wait_until_ready()
        except BaseException as error:
            await bubble.kill("It did not start.")
            if isinstance(error, TimeoutError):
                raise SandboxUnavailable(
                    f"The code interpreter's sandbox did not start within {SANDBOX_START_SECONDS:g} seconds."
                ) from error
            raise
        return bubble

    @property
    def is_alive(self) -> bool:
        return self.lost is None and not self._gone.is_set()

    async def send(self, line: bytes) -> None:
        """Writes a request, as fast as it is read; gives up when the bubble has ended."""
        requests = self._launched.requests
        while line and self.is_alive:
            try:
                line = line[os.write(requests, line) :]
            except BlockingIOError:
                self._loop.add_writer(requests, self._stirred.set)
                try:
                    await self._stir()
                finally:
                    self._loop.remove_writer(requests)
            except BrokenPipeError:
                return

    async def arrived(self) -> None:
        """Returns when there may be something to read, or when the bubble has ended."""
        inlets = (self.logs, self.events)
        for inlet in inlets:
            inlet.call_when_readable(self._stirred.set)
        try:
            await self._stir()
        finally:
            for inlet in inlets:
                inlet.leave_alone()

    def interrupt(self) -> None:
        """What Ctrl-C does, for the Python inside."""
        if self.is_alive and self._python is not None:
            tree.send([self._python], signal.SIGINT)

    def freeze(self) -> None:
        if self.is_alive:
            tree.stop(self.root)

    def thaw(self) -> None:
        if self.is_alive:
            tree.go_on(self.root)

    def condemn(self, lost: str) -> None:
        """Kills everything inside, with the reason for it; the first one counts."""
        if self.lost is None:
            self.lost = lost
        if self._is_closed:
            return
        self._kill_all()
        self._stirred.set()

    def _kill_all(self) -> None:
        # With its first process the kernel ends the whole namespace. Killing bubblewrap's outer process instead leaves
        # zombies to whoever is process 1 of this machine.
        if self._root_descriptor is None:
            # A first process whose parent died while it made the namespaces would wait for it for ever.
            tree.kill(self._launched.process.pid)
        else:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._root_descriptor, signal.SIGKILL)

    async def kill(self, lost: str) -> None:
        """As `condemn`, and returns when all processes are gone and all descriptors closed."""
        self.condemn(lost)
        if self._is_closed:
            return
        try:
            async with asyncio.timeout(SANDBOX_STOP_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            log.error("sandbox_not_ended", pid=self.root)  # noqa: TRY400 - where it happened says nothing
            tree.kill(self._launched.process.pid)
        self._close()

    async def gone(self) -> None:
        await self._gone.wait()

    async def _stir(self) -> None:
        await self._stirred.wait()
        self._stirred.clear()

    async def _enter(self) -> None:
        """Learns the first process's number, puts it into the cgroup, and lets it go on."""
        status = Inlet(self._launched.status)
        line = b""
        while b"\n" not in line:
            status.call_when_readable(self._stirred.set)
            try:
                await self._stir()
            finally:
                status.leave_alone()
            line += status.read(_SAID_BYTES_MAX)
            if not status.is_open or self._gone.is_set():
                raise self._not_started()
        self.root = msgspec.json.decode(line.split(b"\n")[0], type=_Status).child_pid
        try:
            self._root_descriptor = self._watch_end(self.root, lambda: None)
        except ProcessLookupError as error:
            raise self._not_started() from error
        self._let_go_on()

    def _let_go_on(self) -> None:
        if self._cgroup is not None:
            self._cgroup.add(self.root)
        if self._launched.block is not None:
            os.write(self._launched.block, b"\n")

    async def _wait_until_ready(self) -> None:
        """Reads the first event. What it says is not yet anything that the code could have said."""
        said = b""
        while b"\n" not in said:
            if self._gone.is_set():
                raise self._not_started()
            await self.arrived()
            said += self.events.read()
        self._python = tree.below(self.root)[0]
        tree.offer_to_oom_killer(self._python)

    def _not_started(self) -> SandboxUnavailable:
        said = b""
        while len(said) < _SAID_BYTES_MAX and (block := self.logs.read()):
            said += block
        log.warning(
            "sandbox_not_started", exit=self._launched.process.returncode, said=said.decode(errors="replace")[-2000:]
        )
        return SandboxUnavailable(diagnosed(said.decode(errors="replace")))

    def _watch_end(self, pid: int, at_end: Callable[[], None]) -> int:
        descriptor = os.pidfd_open(pid)
        self._running[descriptor] = at_end
        self._loop.add_reader(descriptor, self._end, descriptor)
        return descriptor

    def _reap(self) -> None:
        """bubblewrap's outer process has ended; Python may have ended before what it started."""
        self.condemn(_ending(self._launched.process.wait()))

    def _end(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        at_end = self._running.pop(descriptor)
        at_end()
        if descriptor == self._root_descriptor:
            # Ours to reap where it outlived its parent and this server is the first process of its container.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.root, os.WNOHANG)
        if descriptor != self._root_descriptor:
            os.close(descriptor)
        if not self._running:
            self._gone.set()
        self._stirred.set()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for descriptor in self._running:
            self._loop.remove_reader(descriptor)
        for descriptor in self._running:
            if descriptor != self._root_descriptor:
                os.close(descriptor)
        if self._root_descriptor is not None:
            os.close(self._root_descriptor)
        self._launched.close()
        if self._cgroup is not None:
            self._cgroup.remove()


def _ending(status: int) -> str:
    """A shell's reading of an exit status, as bubblewrap hands it on."""
    number = status - 128 if status > 128 else -status
    if number > 0:
        with contextlib.suppress(ValueError):
            return f"Python was ended by {signal.Signals(number).name}."
    return f"Python ended with exit code {status}."
