"""A stateful Python in its sandbox: calls one after another, its files, and how it comes to its end."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from understudy.core.limits import (
    SANDBOX_CODE_BYTES_MAX,
    SANDBOX_DEPTH_MAX,
    SANDBOX_HARVEST_BYTES_MAX,
    SANDBOX_HARVEST_FILES_MAX,
    SANDBOX_INSIST_SECONDS,
    SANDBOX_READ_BYTES,
    SANDBOX_WATCH_SECONDS,
)
from understudy.ports import (
    CodeEnded,
    CodeEvent,
    FolderChanges,
    SandboxFile,
    SandboxRefusal,
    SessionState,
)
from understudy.sandbox.arguments import DATA
from understudy.sandbox.bubble import Bubble
from understudy.sandbox.call import Call, Flooded
from understudy.sandbox.folder import Folder, Found, Usage
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.names import distinct, shown_path
from understudy.sandbox.watchdog import excess

__all__ = ["Session"]

log = structlog.get_logger(__name__)

_STUBBORN: Final = "The code went on after it was interrupted."


class Session:
    """One Python over one folder. It starts frozen, and is frozen whenever no code of a call runs."""

    def __init__(self, bubble: Bubble, folder: Folder, limits: SandboxLimits) -> None:
        self.state: SessionState = "fresh"
        self.began = self.used = time.monotonic()
        self.folder = folder
        self.files_are_spoilt = False
        self._bubble = bubble
        self._limits = limits
        self._stamps: dict[tuple[bytes, ...], tuple[int, ...]] = {}
        self._paths: dict[str, tuple[bytes, ...]] = {}  # names as they were told -> as they are
        self._is_ended = False
        self._running: _Deadline | None = None
        bubble.freeze()

    @property
    def is_alive(self) -> bool:
        return self._bubble.is_alive and not self._is_ended

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return self._running is not None

    @property
    def is_ended(self) -> bool:
        """Whether `end` was asked for: its files are to go too."""
        return self._is_ended

    async def put(self, name: str, content: bytes | Path) -> str:
        used = await asyncio.to_thread(self._usage)
        if used.entries >= self._limits.entries:
            raise SandboxRefusal(f"There are {self._limits.entries:,} files in /mnt/data already.")
        room = min(self._limits.disk_bytes - used.disk_bytes, self._limits.disk_bytes)
        found = await asyncio.to_thread(self.folder.put, name, content, room)
        # As it was put it is no news.
        self._stamps[found.path] = found.stamp
        return f"{DATA}/{shown_path(found.path)}"

    async def execute(self, code: str, *, seconds: float | None = None) -> AsyncIterator[CodeEvent]:
        if len(code.encode("utf-8", "replace")) > SANDBOX_CODE_BYTES_MAX:
            raise SandboxRefusal(f"The code is longer than {SANDBOX_CODE_BYTES_MAX:,} bytes.")
        seconds = self._limits.call_seconds if seconds is None else seconds
        async with aclosing(self._call({"run": code}, seconds)) as events:
            async for event in events:
                yield event

    async def load(self, modules: Sequence[str]) -> None:
        """Imports what there is of these, so that code which does finds them loaded."""
        async for _ in self._call({"load": list(modules)}, self._limits.call_seconds):
            pass

    async def interrupt(self) -> None:
        if self._running is not None:
            self._running.interrupt("interrupted")

    async def changes(self) -> FolderChanges:
        found, left_out = await asyncio.to_thread(self._harvest)
        changed = [each for each in found if self._stamps.get(each.path) != each.stamp]
        self._stamps = {each.path: each.stamp for each in found}
        self._paths = {name: path for name, path in self._paths.items() if path in self._stamps}
        if len(changed) > SANDBOX_HARVEST_FILES_MAX:
            left_out += len(changed) - SANDBOX_HARVEST_FILES_MAX
            del changed[SANDBOX_HARVEST_FILES_MAX:]
        return FolderChanges(self._told(changed), left_out)

    async def files(self) -> Sequence[SandboxFile]:
        found, _ = await asyncio.to_thread(self._harvest)
        return self._told(found)

    async def get(self, name: str) -> AsyncIterator[bytes]:
        path = self._paths.get(name)
        if path is None:
            raise SandboxRefusal(f"There is no file {name!r}.")
        file = await asyncio.to_thread(self.folder.open, path, SANDBOX_HARVEST_BYTES_MAX)
        with file:
            left = SANDBOX_HARVEST_BYTES_MAX
            # It may grow while it is read.
            while left > 0 and (block := await asyncio.to_thread(file.read, min(SANDBOX_READ_BYTES * 4, left))):
                left -= len(block)
                yield block

    async def end(self) -> None:
        self._is_ended = True
        await self.kill("The session was ended.")

    def restart(self, bubble: Bubble) -> None:
        """Goes on with another Python over the same files."""
        self._bubble = bubble
        self._running = None
        self.state = "restarted"
        self.began = time.monotonic()
        bubble.freeze()

    async def kill(self, lost: str) -> None:
        """Ends the Python; the files stay where they are. Returns when its processes are gone."""
        await self._bubble.kill(lost)

    async def _call(self, request: dict[str, object], seconds: float) -> AsyncGenerator[CodeEvent]:
        assert self._running is None, "one call at a time"
        bubble = self._bubble
        call = Call(bubble.logs, bubble.events, self._limits)
        deadline = self._running = _Deadline(bubble, call, self._limits.grace_seconds)
        over = asyncio.Event()
        watching = asyncio.create_task(self._watch(bubble, over))
        try:
            bubble.thaw()
            deadline.begin(seconds)
            try:
                call.drop()
                await bubble.send(msgspec.json.encode({**request, "call": call.nonce}) + b"\n")
                async with aclosing(self._said(call, deadline)) as said:
                    async for event in said:
                        yield event
            except Flooded as error:
                bubble.condemn(str(error))
            except (GeneratorExit, asyncio.CancelledError):
                await self._give_up(call, deadline)
                raise
        finally:
            deadline.cancel()
            bubble.freeze()
            over.set()
            await watching
            if self._running is deadline:
                self._running = None
            self.used = time.monotonic()
        yield await self._ended(call, deadline)

    async def _said(self, call: Call, deadline: "_Deadline") -> AsyncGenerator[CodeEvent]:
        bubble = deadline.bubble
        while True:
            alive = bubble.is_alive
            taken = call.take()
            deadline.look()
            for event in taken:
                yield event
            # What was said before its end is still in the pipes when the end is known.
            if call.is_done or not alive:
                return
            await bubble.arrived()

    async def _give_up(self, call: Call, deadline: "_Deadline") -> None:
        """Nobody listens any more: what runs is stopped, and its words are dropped."""
        deadline.interrupt("interrupted")
        try:
            async for _ in self._said(call, deadline):
                pass
        except BaseException as error:
            deadline.bubble.condemn("The call was given up.")
            if not isinstance(error, Flooded):
                raise

    async def _ended(self, call: Call, deadline: "_Deadline") -> CodeEnded:
        bubble = deadline.bubble
        if bubble.is_alive and call.is_done:
            return CodeEnded(deadline.reached or "done")
        why = bubble.lost or "Python ended."
        await bubble.kill(why)
        kept = "Variables and files are lost." if self.files_are_spoilt else "Variables are lost, files are kept."
        log.info("sandbox_session_lost", why=why)
        return CodeEnded("killed", f"{why} {kept}")

    async def _watch(self, bubble: Bubble, over: asyncio.Event) -> None:
        """Looks while the call runs and once behind its end: many short calls shall not go unseen."""
        while bubble.is_alive:
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), SANDBOX_WATCH_SECONDS)
            ended = over.is_set()
            # Not cancelled, so that no thread goes on with the folder when the call has returned.
            found = await asyncio.to_thread(excess, bubble.root, self.folder, self._limits)
            if found is not None:
                self.files_are_spoilt = found.spoils_files
                bubble.condemn(str(found))
            if ended:
                return

    def _usage(self) -> Usage:
        limits = self._limits
        return self.folder.usage(entries=limits.entries, disk_bytes=limits.disk_bytes, depth=limits.nesting)

    def _harvest(self) -> tuple[list[Found], int]:
        """Blocks for as long as the disk takes."""
        found: list[Found] = []
        left_out = 0
        for each in self.folder.regular_files(depth=SANDBOX_DEPTH_MAX, entries=self._limits.entries):
            if each is None or each.size_bytes > SANDBOX_HARVEST_BYTES_MAX:
                left_out += 1
            else:
                found.append(each)
        return sorted(found, key=lambda each: each.path), left_out

    def _told(self, found: Sequence[Found]) -> Sequence[SandboxFile]:
        told = []
        for each in found:
            name = shown_path(each.path)
            if self._paths.get(name) != each.path:
                name = distinct(name, self._paths)
                self._paths[name] = each.path
            told.append(SandboxFile(name, each.size_bytes))
        return told


class _Deadline:
    """Ends a call's code when its time is over, or earlier: by an interrupt, and by force where that does not do."""

    def __init__(self, bubble: Bubble, call: Call, grace_seconds: float) -> None:
        self.reached: Literal["timed_out", "interrupted"] | None = None
        self.bubble = bubble
        self._call = call
        self._grace_seconds = grace_seconds
        self._is_owed = False  # an interrupt that the code would not have heard yet
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, seconds: float) -> None:
        self._later(seconds, lambda: self.interrupt("timed_out"))

    def interrupt(self, why: Literal["timed_out", "interrupted"]) -> None:
        if self.reached is None:
            self.reached = why
            self._is_owed = True
            self.look()
            self._later(self._grace_seconds, lambda: self.bubble.condemn(_STUBBORN))

    def look(self) -> None:
        """To be called whenever the call has got further."""
        if self._is_owed and self._call.has_begun and not self._call.is_done:
            self._is_owed = False
            self._insist()

    def _insist(self) -> None:
        """Once may not do: an interrupt that meets IPython before the code begins is lost there."""
        if not self._call.is_done:
            self.bubble.interrupt()
            self._later(SANDBOX_INSIST_SECONDS, self._insist)

    def cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, then))
