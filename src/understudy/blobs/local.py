"""Content in a directory of this machine: written beside its place, made durable, then renamed into it.

    DIRECTORY/partial/KEY     what is still being written, under a lock that ends with its process
    DIRECTORY/KE/KEY          content that is whole
    DIRECTORY/.place          a name, by which a database knows where its content lies

Every step runs in a thread and works on one piece: no disk, however slow, holds the event loop up.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import structlog

from understudy.core.limits import BLOB_PIECE_BYTES
from understudy.ports import Blob, BlobRefused

if os.name == "posix":
    import fcntl

T = TypeVar("T")

PLACE: Final = ".place"  # of the file, or object, with the name
_KEY: Final = re.compile(r"[0-9a-f]{32}\Z")
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)  # Windows would write "\r\n" for "\n"

log = structlog.get_logger()


async def open_local_blobs(directory: Path) -> "LocalBlobs":
    """The directory as a blob store; it is made when there is none. What a killed process left half-written goes.

    Raises `BlobRefused`.
    """
    await _in_thread(lambda: _prepare(directory))
    return LocalBlobs(directory)


class LocalBlobs:
    """`ports.Blobs` on one directory, which several processes may share."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @asynccontextmanager
    async def writer(self, key: str | None = None) -> AsyncIterator["LocalWriter"]:
        key = key or os.urandom(16).hex()
        writer = LocalWriter(key, _NewFile(key, _partial(self._directory) / key, self._place(key)))
        try:
            yield writer
        finally:
            # Shielded, so that a second cancellation does not leave the file behind.
            await asyncio.shield(writer.discard())

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        file = _OldFile(key, self._place(key))
        try:
            while piece := await _in_thread(file.read):
                yield piece
        finally:
            await asyncio.shield(asyncio.to_thread(file.close))

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        place = self._place(key)
        if not await asyncio.to_thread(place.exists):
            raise KeyError(key)
        yield place

    async def delete(self, key: str) -> None:
        place = self._place(key)
        await _in_thread(lambda: place.unlink(missing_ok=True))

    async def place(self) -> str | None:
        return await _in_thread(lambda: _place_name(self._directory))

    async def name_place(self, name: str) -> str:
        return await _in_thread(lambda: _name_place(self._directory, name))

    async def check(self) -> None:
        async with self.writer() as writer:
            await writer.write(b"?")
            await writer.flush()

    async def close(self) -> None:
        """Nothing is kept open."""

    def _place(self, key: str) -> Path:
        if _KEY.match(key) is None:
            raise KeyError(key)
        return self._directory / key[:2] / key


class LocalWriter:
    """`ports.BlobWriter` on one file."""

    def __init__(self, key: str, file: "_NewFile") -> None:
        self.key = key
        self._file = file
        self._waiting = bytearray()
        self._handed_over = False

    async def write(self, piece: bytes) -> None:
        self._waiting += piece
        if len(self._waiting) >= BLOB_PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        # A change of thread costs more than a small piece does, so small pieces wait for each other.
        waiting, self._waiting = self._waiting, bytearray()
        await _in_thread(lambda: self._file.write(waiting))

    async def finish(self) -> Blob:
        await self.flush()
        blob = await _in_thread(self._file.finish)
        self._handed_over = True
        return blob

    async def discard(self) -> None:
        """What was written goes, unless somebody was given it."""
        if not self._handed_over:
            with contextlib.suppress(BlobRefused):  # the next start sweeps what cannot be removed now
                await _in_thread(self._file.discard)


# --- files, for threads. The locks: who is cancelled lets go of a file while a thread may still work on it.


class _NewFile:
    def __init__(self, key: str, partial: Path, place: Path) -> None:
        self._key = key
        self._partial = partial
        self._place = place
        self._lock = threading.Lock()
        self._file: int | None = None
        self._discarded = False
        self._in_place = False
        self._bytes = 0
        self._md5 = hashlib.md5(usedforsecurity=False)  # as the API has it: uploads are compared by theirs

    def write(self, piece: bytearray) -> None:
        with self._lock:
            file = self._open()
            self._md5.update(piece)
            left = memoryview(piece)
            while left:
                left = left[os.write(file, left) :]
            self._bytes += len(piece)

    def finish(self) -> Blob:
        with self._lock:
            os.fsync(self._open())
            self._close()
            self._place.parent.mkdir(mode=0o700, exist_ok=True)
            self._partial.rename(self._place)
            self._in_place = True
            _sync(self._place.parent)
            _sync(self._place.parent.parent)
            return Blob(key=self._key, bytes=self._bytes, md5=self._md5.hexdigest())

    def discard(self) -> None:
        with self._lock:
            self._discarded = True
            self._close()
            self._partial.unlink(missing_ok=True)
            if self._in_place:
                self._place.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._discarded:
            raise OSError("its writer has gone")
        if self._file is None:
            self._file = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
            if os.name == "posix":
                fcntl.flock(self._file, fcntl.LOCK_EX)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _OldFile:
    def __init__(self, key: str, place: Path) -> None:
        self._key = key
        self._place = place
        self._lock = threading.Lock()
        self._file: int | None = None
        self._closed = False

    def read(self) -> bytes:
        """The next piece; nothing at the end. Raises `KeyError`."""
        with self._lock:
            if self._closed:
                return b""
            if self._file is None:
                try:
                    self._file = os.open(self._place, os.O_RDONLY | _BINARY)
                except FileNotFoundError:
                    raise KeyError(self._key) from None
            return os.read(self._file, BLOB_PIECE_BYTES)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None


async def _in_thread(call: Callable[[], T]) -> T:
    """Raises `BlobRefused` for what the disk refuses."""
    try:
        return await asyncio.to_thread(call)
    except OSError as error:
        raise BlobRefused(f"The directory of files cannot be used: {error.strerror or error}.") from error


# --- the directory


def _partial(directory: Path) -> Path:
    return directory / "partial"


def _prepare(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    for made in (directory, _partial(directory)):
        made.mkdir(mode=0o700, exist_ok=True)
    for left in _partial(directory).iterdir():
        with contextlib.suppress(FileNotFoundError):  # its writer has finished it, or another start removed it
            if not _remove_unless_written(left):
                continue
            log.info("partial_blob_removed", key=left.name)


def _place_name(directory: Path) -> str | None:
    try:
        return (directory / PLACE).read_text("ascii", "replace").strip() or None
    except FileNotFoundError:
        return None


def _name_place(directory: Path, name: str) -> str:
    """Of two processes that name it at once, the first one's name stays."""
    with (directory / PLACE).open("a+", encoding="ascii") as file:
        if os.name == "posix":
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        named = file.read().strip()
        if not named:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
    _sync(directory)
    return named or name


def _remove_unless_written(partial: Path) -> bool:
    """Leaves alone what a living process writes: those that share a directory start at any time."""
    if os.name != "posix":
        with contextlib.suppress(PermissionError):  # there, what is open cannot be removed
            partial.unlink(missing_ok=True)
        return not partial.exists()
    file = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        partial.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _sync(directory: Path) -> None:
    """Makes a rename durable. Where directories cannot be opened, it is so by itself."""
    if os.name == "posix":
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
