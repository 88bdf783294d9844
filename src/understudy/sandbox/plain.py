"""Sessions without a sandbox: a plain child process with the rights of its user. Only where an operator asks for that.

Rlimits, the watchdog, deadlines and the end of a session are as in a sandbox. What the code can reach is not bounded.
"""

import asyncio
import contextlib
import json
import os
import pwd
import re
import resource
import signal
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from understudy.core.limits import SANDBOX_SESSIONS_MAX
from understudy.ports import CodeEnded, CodeEvent, CodePicture, CodePrinted, SandboxUnavailable
from understudy.sandbox import diagnosis, tree
from understudy.sandbox.arguments import DATA, ENVIRONMENT
from understudy.sandbox.bubble import Bubble
from understudy.sandbox.folder import Folder
from understudy.sandbox.launcher import RUNNER, SANDBOX_UID, Ends, Launcher, Ready
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.session import Session
from understudy.sandbox.stage import is_reachable_by_others, open_up

__all__ = ["PlainSandboxes", "whose_rights"]

log = structlog.get_logger(__name__)

_KEEPER: Final = Path(__file__).with_name("keeper.py")
_INWARD: Final = re.compile(rf"(?<![\w.-]){DATA}(?![\w-])")
# What may stand in every kind of string literal as it is.
_QUOTABLE: Final = re.compile(r"[\w./@+,:=~ -]+")


def whose_rights() -> str:
    """Who the code is, in words."""
    if os.geteuid() == 0:
        return f"user {SANDBOX_UID}"
    with contextlib.suppress(KeyError):
        return f"the server's own user, {pwd.getpwuid(os.geteuid()).pw_name}"
    return f"the server's own user, {os.geteuid()}"


class _PlainLauncher(Launcher):
    """Starts `keeper.py`, and below it the runner."""

    def _program(self) -> str:
        if sys.platform != "linux":
            raise SandboxUnavailable(diagnosis.NO_LINUX)
        # Now, for later this thread may not see the folder that they are in.
        self._keeper, self._runner = _KEEPER.read_text("utf-8"), RUNNER.read_text("utf-8")
        return str(self._root.resolve() / "bin" / "python")

    def _staged(self, places: Sequence[Path]) -> Mapping[Path, Path]:
        # By their own paths: the environment's links lead there, and /tmp is left to the code.
        open_up(places)
        for place in places:
            if self._uid is not None and not is_reachable_by_others(place):
                raise SandboxUnavailable(diagnosis.unreachable(place, self._uid))
        return {place: place for place in places}

    def _command(self, ready: Ready, data: Path, ends: Ends, theirs: list[int]) -> tuple[list[str], tuple[int, ...]]:  # noqa: ARG002
        environment, folder = ready.environment.root, data
        if not _QUOTABLE.fullmatch(str(folder)):
            raise SandboxUnavailable(f"The path {folder} cannot stand in code: set `sandbox_dir` to a plainer one.")
        home = _home_of(folder)
        if not home.exists():
            home.mkdir(mode=0o700)
            if self._uid is not None:
                os.chown(home, self._uid, self._uid)
        options = {
            "server": os.getpid(),
            "block": ends.block,
            "folder": str(folder),
            "python": str(environment / "bin" / "python"),
            "runner": self._runner,
            "options": self._runner_options(events=ends.events, processes=self._processes()),
            "environment": {
                **ENVIRONMENT,
                "PATH": f"{environment / 'bin'}:/usr/local/bin:/usr/bin:/bin",
                "VIRTUAL_ENV": str(environment),
                "HOME": str(home),
                "TMPDIR": str(home),
            },
        }
        inherited = tuple(number for number in (ends.events, ends.block) if number is not None)
        command = [options["python"], "-I", "-S", "-c", self._keeper, json.dumps(options)]
        return [str(word) for word in command], inherited

    def _processes(self) -> int:
        """For RLIMIT_NPROC, which here counts all processes of the user: the watchdog counts those of a session."""
        if self._uid is not None:
            return self._limits.processes * SANDBOX_SESSIONS_MAX
        return resource.getrlimit(resource.RLIMIT_NPROC)[1]


class _PlainBubble(Bubble):
    """A keeper, and what hangs from it."""

    async def _enter(self) -> None:
        self.root = self._launched.process.pid
        self._let_go_on()

    def _kill_all(self) -> None:
        if self._launched.process.returncode is None:
            # Halted, they cannot go on starting others; the keeper then ends and reaps them.
            tree.stop(self.root)
            self._launched.process.send_signal(signal.SIGTERM)
            self._launched.process.send_signal(signal.SIGCONT)


class _PlainSession(Session):
    """`/mnt/data` in the code and in its words stands for the session's folder. Strings that it builds escape that."""

    async def _call(self, request: dict[str, object], seconds: float) -> AsyncGenerator[CodeEvent]:
        code = request.get("run")
        if isinstance(code, str):
            request = {**request, "run": _INWARD.sub(lambda _: str(self.folder.path), code)}
        outward = _Outward(str(self.folder.path))
        async with aclosing(super()._call(request, seconds)) as events:
            async for event in events:
                for told in outward.told(event):
                    yield told


class _Outward:
    """What code says, with `/mnt/data` for its folder's path, also where a path came in two pieces."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._held = ""  # the beginning of the path, perhaps

    def told(self, event: CodeEvent) -> Iterator[CodeEvent]:
        if isinstance(event, CodePrinted):
            text = (self._held + event.text).replace(self._folder, DATA)
            self._held = self._begun(text)
            if kept := text.removesuffix(self._held):
                yield CodePrinted(kept)
            return
        if self._held:
            yield CodePrinted(self._held)
            self._held = ""
        if isinstance(event, CodePicture | CodeEnded):
            yield event
        else:
            yield replace(event, text=event.text.replace(self._folder, DATA))

    def _begun(self, text: str) -> str:
        lengths = range(min(len(text), len(self._folder) - 1), 0, -1)
        return next((self._folder[:length] for length in lengths if text.endswith(self._folder[:length])), "")


class PlainSandboxes(LocalSandboxes):
    """This machine's sessions, of which none has a sandbox. `folder` is a path without links."""

    _bubbles = _PlainBubble
    _launchers = _PlainLauncher

    async def check(self) -> None:
        """Runs code in a session of its own, and does not have it try to get out: it is out."""
        texts = await self._said_by("print('runs')")
        if texts != ["runs"]:
            raise SandboxUnavailable(diagnosis.diagnosed("\n".join(texts)))

    def _session(self, bubble: Bubble, folder: Folder) -> Session:
        return _PlainSession(bubble, folder, self._limits)

    async def _dispose(self, session: Session | None) -> None:
        await super()._dispose(session)
        if session is not None:
            await asyncio.to_thread(_remove, _home_of(session.folder.path))


def _home_of(folder: Path) -> Path:
    """Where a session's programs keep what is no result: beside its folder, for all in that is harvested."""
    return folder.with_name(f"{folder.name}.home")


def _remove(home: Path) -> None:
    try:
        Folder(home, None).remove()
    except OSError as error:
        log.warning("sandbox_folder_not_removed", error=str(error))
