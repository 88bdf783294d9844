"""Starting bubblewrap: as a user who is nobody, from a thread of its own that lives as long as the sessions do."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from understudy.confine import sandbox_filter
from understudy.confine.filters import filters_exist
from understudy.ports import SandboxUnavailable
from understudy.sandbox import diagnosis, tree
from understudy.sandbox.arguments import Descriptors, Proc, Sources, bwrap_arguments
from understudy.sandbox.environment import Environment, read_environment
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.stage import is_reachable_by_others, staged

__all__ = ["RUNNER", "SANDBOX_UID", "Ends", "Launched", "Launcher", "Ready"]

log = structlog.get_logger(__name__)
RUNNER: Final = Path(__file__).with_name("runner.py")

# The user of sandboxes where the server is root: a number that no distribution and no service manager gives out.
SANDBOX_UID: Final = 61_000


class Launched(Struct, frozen=True, eq=False):
    """A bubblewrap that was just started, and our ends of its pipes. `block` holds it up until it is closed."""

    process: subprocess.Popen[bytes]
    requests: int
    logs: int
    events: int
    status: int
    block: int | None

    def close(self) -> None:
        for number in (self.requests, self.logs, self.events, self.status, self.block):
            if number is not None:
                os.close(number)


class Ends(Struct, frozen=True):
    """The ends of pipes that what is started inherits beside its three streams."""

    events: int
    status: int
    block: int | None


class Ready(Struct, frozen=True):
    """What all starts have in common, found once."""

    program: str
    environment: Environment
    seen: dict[Path, Path]  # where a folder is -> where what is started finds it


class Launcher:
    """`folder` is where sessions have theirs. `uid` is who they are; None for whoever the server is, which is not root.

    All of it is looked at when the first one starts.
    """

    def __init__(self, *, environment: Path, folder: Path, uid: int | None, proc: Proc, limits: SandboxLimits) -> None:
        assert uid != 0, "a sandbox is never root's"
        assert (uid is None) == (os.geteuid() != 0)
        self._root = environment
        self._folder = folder
        self._proc: Proc = proc
        self._limits = limits
        self._ready: Ready | None = None
        self._uid = uid
        # Read here: the thread below may get a view of its own in which the server's code is covered.
        self._runner_code = RUNNER.read_bytes()
        self._abandoned: set[asyncio.Future[Launched]] = set()
        # One thread for good: --die-with-parent means the thread that started bubblewrap, not its process.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandboxes")

    async def start(self, data: Path, *, blocked: bool) -> Launched:
        """A bubblewrap over the session's folder `data`. Raises `SandboxUnavailable`."""
        starting = asyncio.get_running_loop().run_in_executor(self._thread, self._start, data, blocked)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._abandoned.add(starting)
            starting.add_done_callback(self._abandon)
            raise
        except OSError as error:
            raise SandboxUnavailable(diagnosis.diagnosed(str(error))) from error

    async def close(self) -> None:
        """What still runs is killed with it."""
        if self._abandoned:
            await asyncio.wait(self._abandoned)
        self._thread.shutdown(wait=False)

    def _abandon(self, starting: "asyncio.Future[Launched]") -> None:
        """Ends what was started for nobody: its caller was called away meanwhile."""
        self._abandoned.discard(starting)
        if starting.cancelled() or starting.exception() is not None:
            return
        launched = starting.result()
        tree.kill(launched.process.pid)
        launched.close()
        launched.process.wait()

    def _start(self, data: Path, blocked: bool) -> Launched:
        if self._ready is None:
            self._ready = self._made_ready()
        ready = self._ready
        ours: list[int] = []
        theirs: list[int] = []
        try:
            status, status_in = _pipe(ours, theirs)
            events, events_in = _pipe(ours, theirs)
            logs, logs_in = _pipe(ours, theirs)
            requests_out, requests = _pipe(theirs, ours)
            block_out, block = _pipe(theirs, ours) if blocked else (None, None)
            command, inherited = self._command(ready, data, Ends(events_in, status_in, block_out), theirs)
            process = self._popen(command, requests_out, logs_in, inherited)
        except BaseException:
            for number in ours:
                os.close(number)
            raise
        finally:
            for number in theirs:
                os.close(number)
        for number in (status, events, logs, requests):
            os.set_blocking(number, False)
        return Launched(process, requests, logs, events, status, block)

    def _command(self, ready: Ready, data: Path, ends: Ends, theirs: list[int]) -> tuple[list[str], tuple[int, ...]]:
        """What is run over the session's folder, and what it inherits; what that takes is entered into `theirs`."""
        descriptors = Descriptors(
            seccomp=_held(sandbox_filter(), theirs),
            runner=_held(self._runner_code, theirs),
            status=ends.status,
            events=ends.events,
            block=ends.block,
        )
        seen = ready.seen
        sources = Sources(
            data=seen[self._folder] / data.relative_to(self._folder),
            environment=seen[ready.environment.root],
            bases={base: seen[base] for base in ready.environment.bases},
        )
        options = self._runner_options(events=ends.events, processes=self._limits.processes)
        arguments = bwrap_arguments(
            sources=sources, descriptors=descriptors, limits=self._limits, proc=self._proc, options=options
        )
        return [ready.program, *arguments], descriptors.all()

    def _runner_options(self, *, events: int, processes: int) -> str:
        limits = self._limits
        options = {
            "events": events,
            "address_bytes": limits.address_bytes,
            "file_bytes": limits.file_bytes,
            "open_files": limits.open_files,
            "processes": processes,
            "image_bytes": limits.image_bytes,
            "text_characters": limits.text_bytes,
        }
        return json.dumps(options)

    def _popen(
        self, command: list[str], stdin: int, output: int, descriptors: tuple[int, ...]
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - every word of it is ours
                command,
                stdin=stdin,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                cwd="/",
                env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
                user=self._uid,
                group=self._uid,
                extra_groups=None if self._uid is None else [],
            )
        except PermissionError as error:
            raise SandboxUnavailable(diagnosis.NO_OTHER_USER) from error

    def _program(self) -> str:
        """Raises `SandboxUnavailable` where there is none."""
        return _bwrap()

    def _staged(self, places: Sequence[Path]) -> Mapping[Path, Path]:
        return staged(places)

    def _made_ready(self) -> Ready:
        program = self._program()
        environment = read_environment(self._root)
        places = [self._folder, environment.root, *environment.bases]
        if self._uid is None:
            return Ready(program, environment, {place: place for place in places})
        try:
            return Ready(program, environment, dict(self._staged(places)))
        except OSError as error:
            log.info("sandbox_folders_not_staged", error=str(error))
        for place in places:
            if not is_reachable_by_others(place.parent if place == self._folder else place):
                raise SandboxUnavailable(diagnosis.unreachable(place, self._uid))
        return Ready(program, environment, {place: place for place in places})


def _bwrap() -> str:
    if not filters_exist():
        raise SandboxUnavailable(diagnosis.NO_LINUX)
    path = shutil.which("bwrap")
    if path is None:
        raise SandboxUnavailable(diagnosis.NO_BWRAP)
    said = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    if "--size" not in said.stdout or "--disable-userns" not in said.stdout:
        raise SandboxUnavailable(diagnosis.OLD_BWRAP)
    return path


def _pipe(reading: list[int], writing: list[int]) -> tuple[int, int]:
    """A pipe whose ends are entered into these lists."""
    read, write = os.pipe()
    reading.append(read)
    writing.append(write)
    return read, write


def _held(content: bytes, descriptors: list[int]) -> int:
    descriptor = os.memfd_create("sandbox")
    descriptors.append(descriptor)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
