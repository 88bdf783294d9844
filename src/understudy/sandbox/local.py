"""Sessions of this machine: one for each key, some warm ones for the next, and an end for those that nobody uses."""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from understudy.core.limits import SANDBOX_SESSIONS_MAX, SANDBOX_WARM_MEMORY_BYTES, SANDBOX_WARM_SESSIONS
from understudy.ports import CodePrinted, CodeRaised, SandboxBusy, SandboxUnavailable
from understudy.sandbox.arguments import Proc
from understudy.sandbox.bubble import Bubble
from understudy.sandbox.canary import CANARY, HELD
from understudy.sandbox.cgroup import Cgroup, Cgroups, find_cgroups
from understudy.sandbox.diagnosis import diagnosed, escaped
from understudy.sandbox.folder import Folder
from understudy.sandbox.launcher import SANDBOX_UID, Launcher
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.scratch import Scratch
from understudy.sandbox.session import Session

__all__ = ["LocalSandboxes", "sessions_that_fit"]

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 15.0  # between looks for sessions that nobody uses
_PROCESSES_OF_BUBBLEWRAP: Final = 8


def sessions_that_fit(limits: SandboxLimits) -> int:
    """As many as this machine has memory for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(SANDBOX_SESSIONS_MAX, memory // limits.memory_bytes))


def warm_that_fit() -> int:
    """None where memory is short: one that waits with its modules loaded takes some 65 MB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return SANDBOX_WARM_SESSIONS if memory >= SANDBOX_WARM_MEMORY_BYTES else 0


class _Place:
    """A key's session. `wanted` counts who holds it or waits for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0
        self.session: Session | None = None


class LocalSandboxes:
    """`environment` is the Python that the code runs in; `folder` is where sessions keep their files meanwhile.

    `warm` sessions wait ready, with the modules of `preload` imported. `uid` is who the code is on this machine where
    the server is root; otherwise it is the server's own user. Nothing is looked at before the first use.
    """

    _bubbles: type[Bubble] = Bubble
    _launchers: type[Launcher] = Launcher

    def __init__(
        self,
        *,
        environment: Path,
        folder: Path,
        limits: SandboxLimits | None = None,
        sessions_max: int | None = None,
        warm: int | None = None,
        preload: Sequence[str] = (),
        proc: Proc = "empty",
        uid: int = SANDBOX_UID,
        cgroups: Cgroups | None = None,
    ) -> None:
        self._environment = environment
        self._root = folder
        self._limits = limits or SandboxLimits()
        self._sessions_max = sessions_max or sessions_that_fit(self._limits)
        self._warm_max = warm_that_fit() if warm is None else warm
        self._preload = preload
        self._proc: Proc = proc
        self._uid = uid
        self._cgroups = cgroups
        self._scratch: Scratch | None = None
        self._launcher: Launcher | None = None
        self._places: dict[str, _Place] = {}
        self._warm: deque[Session] = deque()
        self._taken = 0  # sessions that there are, or that are being started
        self._freed = asyncio.Event()
        self._preparing = asyncio.Lock()
        self._filling: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    def warm_up(self) -> None:
        """Begins to make the warm sessions. What keeps it from it is logged, and told to who opens one."""
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill())
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    @property
    def ready(self) -> int:
        """Sessions that wait for whoever opens the next one."""
        return len(self._warm)

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Session]:
        if self._closed:
            raise SandboxUnavailable("The server is shutting down.")
        place = self._places.setdefault(key, _Place())
        place.wanted += 1
        try:
            async with place.lock:
                session = await self._session_of(place)
                try:
                    yield session
                finally:
                    if session.is_busy:
                        # Its reader went away without a word: nobody would wait for its end.
                        await session.kill("The call was given up.")
                    if session.is_ended:
                        await self._end(place)
        finally:
            place.wanted -= 1
            if place.wanted == 0 and place.session is None:
                self._places.pop(key, None)
            self._freed.set()

    async def check(self) -> None:
        texts = await self._said_by(CANARY.format(pid=os.getpid()))
        if texts != [HELD]:
            raise SandboxUnavailable(escaped(texts) if len(texts) == 1 else diagnosed("\n".join(texts)))

    async def close(self) -> None:
        self._closed = True
        for task in (self._filling, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        places = [place for place in self._places.values() if place.session is not None]
        await asyncio.gather(*map(self._end, places), *map(self._dispose, self._warm))
        self._warm.clear()
        if self._launcher is not None:
            await self._launcher.close()
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            await asyncio.to_thread(scratch.close)

    async def _said_by(self, code: str) -> Sequence[str]:
        """What the code prints or raises in a session of its own."""
        await self._take_room()
        session = None
        try:
            session = await self._start()
            said = [event async for event in session.execute(code, seconds=20.0)]
        finally:
            await self._dispose(session)
        return [event.text.strip() for event in said if isinstance(event, CodePrinted | CodeRaised)]

    async def _session_of(self, place: _Place) -> Session:
        session = place.session
        if session is not None and (session.files_are_spoilt or self._is_old(session)):
            await self._end(place)
            session = None
        if session is None:
            place.session = session = await self._fresh()
        elif session.is_alive:
            session.state = "resumed"
        else:
            session.restart(await self._bubble(session.folder))
        session.used = time.monotonic()
        return session

    async def _fresh(self) -> Session:
        while self._warm:
            session = self._warm.popleft()
            self.warm_up()
            if session.is_alive:
                session.began = time.monotonic()
                return session
            await self._dispose(session)
        await self._take_room()
        try:
            session = await self._start()
        except BaseException:
            self._give_room()
            raise
        self.warm_up()
        return session

    async def _start(self) -> Session:
        """A new session, in a place that was taken for it."""
        async with self._preparing:
            if self._launcher is None:
                await asyncio.to_thread(self._prepare)
        assert self._scratch is not None
        folder = await asyncio.to_thread(self._scratch.make)
        try:
            return self._session(await self._bubble(folder), folder)
        except BaseException:
            await asyncio.to_thread(folder.remove)
            raise

    def _session(self, bubble: Bubble, folder: Folder) -> Session:
        return Session(bubble, folder, self._limits)

    async def _bubble(self, folder: Folder) -> Bubble:
        assert self._launcher is not None
        return await self._bubbles.start(self._launcher, folder.path, self._cgroup())

    def _cgroup(self) -> Cgroup | None:
        if self._cgroups is None:
            return None
        processes = self._limits.processes + _PROCESSES_OF_BUBBLEWRAP
        try:
            return self._cgroups.make(memory_bytes=self._limits.memory_bytes, processes=processes)
        except OSError as error:
            log.warning("cgroup_not_made", error=str(error))
            self._cgroups = None
            return None

    def _prepare(self) -> None:
        uid = self._uid if os.geteuid() == 0 else None
        self._scratch = Scratch(self._root.absolute(), uid)
        self._cgroups = self._cgroups or find_cgroups()
        self._launcher = self._launchers(
            environment=self._environment,
            folder=self._scratch.path,
            uid=uid,
            proc=self._proc,
            limits=self._limits,
        )

    async def _take_room(self) -> None:
        """Waits until there is one session fewer than there may be. Raises `SandboxBusy`."""
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                while self._taken >= self._sessions_max:
                    idle = [place for place in self._places.values() if place.session and not place.wanted]
                    if self._warm:
                        await self._dispose(self._warm.popleft())
                    elif idle:
                        await self._end(min(idle, key=lambda place: place.session.used if place.session else 0.0))
                    else:
                        self._freed.clear()
                        await self._freed.wait()
        except TimeoutError as error:
            raise SandboxBusy(
                f"All {self._sessions_max} sessions of the code interpreter are at work: try again later."
            ) from error
        self._taken += 1

    def _give_room(self) -> None:
        self._taken -= 1
        self._freed.set()

    async def _end(self, place: _Place) -> None:
        session, place.session = place.session, None
        await self._dispose(session)

    async def _dispose(self, session: Session | None) -> None:
        """Ends a session, removes its files, and gives its place to others."""
        try:
            if session is not None:
                await session.kill("The session was ended.")
                await asyncio.to_thread(session.folder.remove)
        except OSError as error:
            log.warning("sandbox_folder_not_removed", error=str(error))
        finally:
            self._give_room()

    async def _fill(self) -> None:
        while len(self._warm) < self._warm_max and self._taken < self._sessions_max:
            self._taken += 1
            session = None
            try:
                session = await self._start()
                await session.load(self._preload)
            except BaseException as error:
                await self._dispose(session)
                if isinstance(error, SandboxUnavailable):
                    log.warning("sandbox_unavailable", reason=str(error))
                    return
                raise
            self._warm.append(session)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for key, place in list(self._places.items()):
                if place.session is not None and not place.wanted and self._is_old(place.session):
                    await self._end(place)
                    if not place.wanted:
                        self._places.pop(key, None)

    def _is_old(self, session: Session) -> bool:
        now = time.monotonic()
        return now - session.used > self._limits.idle_seconds or now - session.began > self._limits.life_seconds
