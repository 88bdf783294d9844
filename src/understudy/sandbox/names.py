"""Names of files as they cross the wall: from users into the sandbox, and from its code to users."""

from collections.abc import Collection
from typing import Final

from understudy.core.limits import SANDBOX_NAME_LENGTH_MAX

__all__ = ["distinct", "plain_name", "shown_path"]

_FALLBACK: Final = "file"


def plain_name(name: str) -> str:
    """One name of a file: no folders, nothing that is not printable, no more bytes than a file system takes."""
    last = _printable(name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]).strip()
    return _shortened(last) if last.strip(".") else _FALLBACK


def shown_path(path: Collection[bytes]) -> str:
    """A raw path in words: what is no UTF-8, or not printable, becomes `_`."""
    return "/".join(_printable(name.decode("utf-8", "replace")) for name in path)


def distinct(name: str, taken: Collection[str]) -> str:
    """The name, or with a number before its ending where it is taken."""
    if name not in taken:
        return name
    folder, _, last = name.rpartition("/")
    stem, dot, ending = last.rpartition(".")
    number = 2
    while True:
        numbered = f"{stem} ({number}){dot}{ending}" if stem else f"{last} ({number})"
        whole = f"{folder}/{numbered}" if folder else numbered
        if whole not in taken:
            return whole
        number += 1


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() and character != "\ufffd" else "_" for character in text)


def _shortened(name: str) -> str:
    """Cut before its ending."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > SANDBOX_NAME_LENGTH_MAX // 4:
        stem, dot, ending = name, "", ""
    room = SANDBOX_NAME_LENGTH_MAX - len((dot + ending).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + ending
