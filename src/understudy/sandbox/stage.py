"""Folders for a sandbox whose user may not come to them: the server is root, and they lie below a private folder."""

import contextlib
import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["is_reachable_by_others", "open_up", "staged"]

_CLONE_NEWNS: Final = 0x00020000
_MS_NOSUID: Final = 0x2
_MS_NODEV: Final = 0x4
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SLAVE: Final = 0x80000
_MNT_DETACH: Final = 0x2
_STAGE: Final = "/tmp"  # noqa: S108 - covered, in this thread's view only; bubblewrap needs it too


def is_reachable_by_others(place: Path) -> bool:
    """Whether a user who owns nothing of it can enter the folder by its path."""
    return all(folder.stat().st_mode & 0o001 for folder in (place, *place.parents))


def staged(places: Sequence[Path]) -> Mapping[Path, Path]:
    """Each place under a path that everybody can come to, for the calling thread and what it starts, and nobody else.

    For root: the thread gets a mount namespace of its own. Raises OSError where the machine does not let it.
    """
    libc = _apart()
    with contextlib.ExitStack() as held:
        # By descriptors, since the stage may cover what is to be put on it.
        descriptors = [os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for place in places]
        for descriptor in descriptors:
            held.callback(os.close, descriptor)
        _mount(libc, "tmpfs", _STAGE, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=1m")
        try:
            seen = {}
            for number, (place, descriptor) in enumerate(zip(places, descriptors, strict=True)):
                target = Path(_STAGE, f"{number}")
                target.mkdir()
                _mount(libc, f"/proc/self/fd/{descriptor}", str(target), None, _MS_BIND | _MS_REC)
                seen[place] = target
        except OSError:
            libc.umount2(_STAGE.encode(), _MNT_DETACH)
            raise
    return seen


def open_up(places: Sequence[Path]) -> None:
    """Each place can be come to by its own path: what else is in the private folders on the way there is covered.

    For the calling thread and what it starts. For root. Raises OSError where the machine does not let it.
    """
    closed = {place: folder for place in places if (folder := _closed(place)) is not None}
    libc = _apart()
    with contextlib.ExitStack() as held, contextlib.ExitStack() as covered:
        descriptors = {place: os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for place in closed}
        for descriptor in descriptors.values():
            held.callback(os.close, descriptor)
        for folder in sorted(set(closed.values())):
            _mount(libc, "tmpfs", str(folder), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=1m")
            covered.callback(libc.umount2, os.fsencode(folder), _MNT_DETACH)
        # Those that hold others before these.
        for place in sorted(closed):
            for folder in (*reversed(place.parents), place):
                if not folder.exists():
                    folder.mkdir()
                    folder.chmod(0o755)
            _mount(libc, f"/proc/self/fd/{descriptors[place]}", str(place), None, _MS_BIND | _MS_REC)
        covered.pop_all()


def _closed(place: Path) -> Path | None:
    """The outermost folder on the way that others cannot enter."""
    return next((folder for folder in reversed(place.parents) if not folder.stat().st_mode & 0o001), None)


def _apart() -> ctypes.CDLL:
    """Gives the thread a mount namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(_CLONE_NEWNS))
    _mount(libc, "none", "/", None, _MS_REC | _MS_SLAVE)
    return libc


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    words = (source.encode(), target.encode(), None if kind is None else kind.encode())
    _checked(libc.mount(*words, ctypes.c_ulong(flags), options.encode()))


def _checked(returned: int) -> None:
    if returned != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
