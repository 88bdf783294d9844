"""The sandbox that the code interpreter's code runs in: sessions of a stateful Python, by a key of the caller's."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

# What a session that was just opened still has: nothing; variables and files; files only.
SessionState: TypeAlias = Literal["fresh", "resumed", "restarted"]


class SandboxUnavailable(Exception):
    """Code cannot be run safely here. The text is one sentence that names what mends it, safe to show to a client."""


class SandboxBusy(Exception):
    """No session came free in time. The text is safe to show to a client."""


class SandboxRefusal(Exception):
    """A file or a piece of code that a session does not take or have. The text is safe to show to a client."""


class CodePrinted(Struct, frozen=True, tag="printed"):
    """A piece of what the code, or a program that it started, wrote to stdout and stderr, in that order."""

    text: str


class CodeValue(Struct, frozen=True, tag="value"):
    """What a last expression came to, as a notebook shows it."""

    text: str


class CodeRaised(Struct, frozen=True, tag="raised"):
    """An exception that the code did not catch: its traceback, without frames of ours."""

    text: str


class CodePicture(Struct, frozen=True, tag="picture"):
    """A figure or an image that the code showed."""

    png: bytes


class CodeEnded(Struct, frozen=True, tag="ended"):
    """The last event of each call. `lost` says in one sentence why the session, and so its variables, are no more."""

    how: Literal["done", "timed_out", "interrupted", "killed"]
    lost: str | None = None


CodeEvent: TypeAlias = CodePrinted | CodeValue | CodeRaised | CodePicture | CodeEnded


class SandboxFile(Struct, frozen=True):
    """A file below `/mnt/data`. `name` is its path from there, with nothing in it that is not printable."""

    name: str
    size_bytes: int


class FolderChanges(Struct, frozen=True):
    """Files that are new or other than they were; `left_out` are those that could not be had: links, too many..."""

    files: Sequence[SandboxFile] = ()
    left_out: int = 0


class SandboxSession(Protocol):
    """One Python that keeps its variables from call to call, held by one caller at a time. Frozen between calls."""

    state: SessionState

    async def put(self, name: str, content: bytes | Path) -> str:
        """Where the code finds a copy of the content: `/mnt/data/` and the name, made a plain one.

        Replaces what has this name. Raises `SandboxRefusal` when it is too large, or the name is a folder's.
        """

    def execute(self, code: str, *, seconds: float | None = None) -> AsyncIterator[CodeEvent]:
        """What the code does, as it does it; `CodeEnded` is last. Code that runs for too long is interrupted.

        Giving the iterator up interrupts the code. Raises `SandboxRefusal` for more code than a call takes.
        """

    async def interrupt(self) -> None:
        """Ends what runs, as Ctrl-C would; variables stay. Nothing when nothing runs."""

    async def changes(self) -> FolderChanges:
        """Files that the code wrote since this was last asked; what was `put` counts once it is changed."""

    async def files(self) -> Sequence[SandboxFile]:
        """All files below `/mnt/data`, as far as they can be had."""

    def get(self, name: str) -> AsyncIterator[bytes]:
        """A file's content in pieces, by a name that `changes` or `files` gave. Raises `SandboxRefusal`."""

    async def end(self) -> None:
        """Ends the Python and removes its files; what is opened by the same key next is fresh."""


class Sandboxes(Protocol):
    def open(self, key: str) -> AbstractAsyncContextManager[SandboxSession]:
        """The session of this key, for as long as it is held; who asks for one that is held waits.

        A session that nobody holds ends after some idle time, or when another key needs its place. Raises
        `SandboxUnavailable`, `SandboxBusy`.
        """

    async def check(self) -> None:
        """Runs code in a session of its own and has it try to get out. Raises `SandboxUnavailable`."""

    async def close(self) -> None:
        """Ends every session, and waits for their processes to be gone."""
