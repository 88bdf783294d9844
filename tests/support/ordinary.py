"""Commands run as an ordinary user by tests that run as root, wherever the checkout and the interpreter lie."""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["ORDINARY_UID", "becoming_ordinary"]

ORDINARY_UID = 61_700
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_SLAVE = 0x20000, 0x1000, 0x4000, 0x80000
_PATH_ONLY = os.O_PATH | os.O_DIRECTORY


def becoming_ordinary(places: Sequence[Path]) -> Callable[[], None]:
    """What a child has to call before it runs the command; it then comes to these folders, as if nobody were root.

    Private folders above them, such as root's own home, look empty but for them, in the child's view only.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = {place.resolve() for place in (*places, Path(sys.base_prefix), Path(sys.prefix))}
    covers = {place: cover for place in wanted if (cover := _private_folder(place)) is not None}

    def become() -> None:
        if covers:
            _check(libc.unshare(_CLONE_NEWNS))
            _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None))
            held = {place: os.open(place, _PATH_ONLY) for place in covers}
            for cover in {*covers.values()}:
                _check(libc.mount(b"tmpfs", bytes(cover), b"tmpfs", ctypes.c_ulong(0), b"mode=0755"))
            for place, descriptor in held.items():
                place.mkdir(parents=True, exist_ok=True)
                source = f"/proc/self/fd/{descriptor}".encode()
                _check(libc.mount(source, bytes(place), None, ctypes.c_ulong(_MS_BIND | _MS_REC), None))
        os.setgroups([])
        os.setgid(ORDINARY_UID)
        os.setuid(ORDINARY_UID)

    return become


def _private_folder(place: Path) -> Path | None:
    """The topmost folder above that keeps others out."""
    above = [folder for folder in reversed(place.parents) if not folder.stat().st_mode & 0o001]
    return above[0] if above else None


def _check(returned: int) -> None:
    if returned != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
