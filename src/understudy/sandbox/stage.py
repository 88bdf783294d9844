"""Folders for a sandbox whose user may not come to them: the server is root, and they lie below a private folder."""

import contextlib
import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["is_reachable_by_others", "staged"]

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
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(_CLONE_NEWNS))
    _mount(libc, "none", "/", None, _MS_REC | _MS_SLAVE)
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


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    words = (source.encode(), target.encode(), None if kind is None else kind.encode())
    _checked(libc.mount(*words, ctypes.c_ulong(flags), options.encode()))


def _checked(returned: int) -> None:
    if returned != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
