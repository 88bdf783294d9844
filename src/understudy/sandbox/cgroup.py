"""A cgroup for each session, where the server may make one: the kernel then holds its memory and processes itself.

What a watchdog cannot see, memory that no process has mapped, is counted here.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Final

import structlog

__all__ = ["Cgroup", "Cgroups", "find_cgroups"]

log = structlog.get_logger(__name__)

_ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS: Final = "+memory +pids"
_REMOVE_SECONDS: Final = 1.0


class Cgroup:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, pid: int) -> None:
        (self._folder / "cgroup.procs").write_text(str(pid), "ascii")

    def remove(self) -> None:
        """Its processes have ended; the kernel may need a moment to know."""
        until = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                self._folder.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if time.monotonic() < until:
                    time.sleep(0.002)
                    continue
                log.warning("cgroup_not_removed", cgroup=self._folder.name, error=str(error))
            return


class Cgroups:
    """Makes them below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def make(self, *, memory_bytes: int, processes: int) -> Cgroup:
        """Raises OSError where the kernel refuses."""
        self._made += 1
        folder = self._folder / f"understudy-{os.getpid()}-{self._made}"
        folder.mkdir()
        bounds = {"memory.max": memory_bytes, "memory.swap.max": 0, "pids.max": processes, "memory.oom.group": 1}
        for name, value in bounds.items():
            # Not every kernel counts swap, and a folder of one controller has only its own files.
            if (folder / name).exists():
                (folder / name).write_text(str(value), "ascii")
        return Cgroup(folder)


def find_cgroups(root: Path = _ROOT, own: Path = Path("/proc/self/cgroup")) -> Cgroups | None:
    """Below the server's own cgroup or its parent, where version 2 hands them to its user; None elsewhere."""
    try:
        lines = own.read_text("ascii").splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if path is None:
        return None
    for folder in (root / path, (root / path).parent):
        if folder.is_relative_to(root) and _hands_down(folder):
            return Cgroups(folder)
    return None


def _hands_down(folder: Path) -> bool:
    control = folder / "cgroup.subtree_control"
    if not os.access(folder, os.W_OK) or not control.exists():
        return False
    if not _has_both(control):
        with contextlib.suppress(OSError):
            # Refused where the folder has processes of its own: the parent may do then.
            control.write_text(_CONTROLLERS, "ascii")
    return _has_both(control)


def _has_both(control: Path) -> bool:
    return {"memory", "pids"} <= set(control.read_text("ascii").split())
