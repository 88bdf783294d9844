"""Where the sessions of one server process have their folders; what a killed one left is removed by the next."""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

import structlog

from understudy.sandbox.folder import Folder

__all__ = ["Scratch"]

log = structlog.get_logger(__name__)


class Scratch:
    """A folder below `root` that is this process's for as long as it lives. Its names say nothing about anybody."""

    def __init__(self, root: Path, uid: int | None) -> None:
        self._uid = uid
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        _sweep(root)
        self.path = root / secrets.token_hex(8)
        # Before the folder, so that nobody finds the folder without it.
        self._lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path.mkdir(mode=0o711)

    def make(self) -> Folder:
        """A new session's."""
        return Folder.made(self.path / secrets.token_hex(8), self._uid)

    def close(self) -> None:
        _remove(self.path)
        os.close(self._lock)


def _sweep(root: Path) -> None:
    for lock in root.glob("*.lock"):
        with contextlib.suppress(OSError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.with_suffix(""))
                log.info("sandbox_folders_removed", folder=lock.stem)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        Folder(path, None).remove()
    path.with_suffix(".lock").unlink(missing_ok=True)
