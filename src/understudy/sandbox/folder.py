"""A session's folder, `/mnt/data` inside: written and read from outside while strangers' code writes in it too.

Everything here goes through one descriptor of the folder, name by name, and follows no link.
"""

import contextlib
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from understudy.ports import SandboxRefusal
from understudy.sandbox.names import plain_name

__all__ = ["Folder", "Found", "Usage"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO waits for somebody to write.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_COPY_BYTES: Final = 1024 * 1024


class Found(Struct, frozen=True):
    """A regular file: its raw path of names, and what changes whenever it does."""

    path: tuple[bytes, ...]
    size_bytes: int
    stamp: tuple[int, ...]


class Usage(Struct, frozen=True):
    """Counted no further than a little over what was asked for. `device` is that of the disk."""

    entries: int
    disk_bytes: int
    depth: int
    device: int


class Folder:
    """`uid` is whom it and its files belong to, where that is not the server's own user."""

    def __init__(self, path: Path, uid: int | None) -> None:
        self.path = path
        self._uid = uid
        self._top = os.open(path, _DIRECTORY)

    @classmethod
    def made(cls, path: Path, uid: int | None) -> "Folder":
        path.mkdir(mode=0o700)
        folder = cls(path, uid)
        if uid is not None:
            os.fchown(folder._top, uid, uid)
        return folder

    def put(self, name: str, content: bytes | Path, size_bytes_max: int) -> Found:
        """A copy under a plain form of the name, in place of a file that has it. Raises `SandboxRefusal`."""
        plain = os.fsencode(plain_name(name))
        staging = b".incoming-" + secrets.token_hex(8).encode()
        _open_up(self._top)
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=self._top)
        try:
            with os.fdopen(descriptor, "wb") as copy:
                _fill(copy, content, size_bytes_max)
                copy.flush()
                if self._uid is not None:
                    os.fchown(copy.fileno(), self._uid, self._uid)
                # Replaces what has the name itself, never what a link of that name leads to.
                os.rename(staging, plain, src_dir_fd=self._top, dst_dir_fd=self._top)
                return _found((plain,), os.fstat(copy.fileno()))
        except IsADirectoryError as error:
            raise SandboxRefusal(f"{plain_name(name)} is a folder.") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staging, dir_fd=self._top)

    def regular_files(self, *, depth: int, entries: int) -> Iterator[Found | None]:
        """Every file down to this depth; None for each entry that is not to be had. Ends after so many entries."""
        left = entries
        for path, found in self._walk(depth):
            left -= 1
            if left < 0:
                yield None
                return
            if not stat.S_ISDIR(found.st_mode):
                # A second name of a file may be one that lies somewhere else.
                yield _found(path, found) if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else None
            elif len(path) >= depth:
                yield None

    def open(self, path: tuple[bytes, ...], size_bytes_max: int) -> BinaryIO:
        """A regular file. Raises `SandboxRefusal` for anything else, or one that is larger."""
        descriptor = -1
        try:
            with self._opened(path[:-1]) as parent:
                descriptor = os.open(path[-1], _FILE, dir_fd=parent)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise SandboxRefusal("This is not a regular file.")
            if found.st_size > size_bytes_max:
                raise SandboxRefusal(f"This file is larger than {size_bytes_max:,} bytes.")
            file = os.fdopen(descriptor, "rb", buffering=0)
        except OSError as error:
            raise SandboxRefusal(f"This file cannot be had: {error.strerror}.") from error
        else:
            descriptor = -1
            return file
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def usage(self, *, entries: int, disk_bytes: int, depth: int) -> Usage:
        """What it holds, counted until it is more than this."""
        count = total = deepest = 0
        for path, found in self._walk(depth + 1):
            count += 1
            total += found.st_blocks * 512
            deepest = max(deepest, len(path))
            if count > entries or total > disk_bytes or deepest > depth:
                break
        return Usage(count, total, deepest, os.fstat(self._top).st_dev)

    def free_bytes(self) -> int:
        """What the disk that it lies on has left."""
        disk = os.statvfs(self._top)
        return disk.f_bavail * disk.f_frsize

    def clear(self) -> None:
        """Empties it, whatever is in it. Nothing inside may run."""
        # Folders come up to the top before they are emptied, so that neither their depth nor a path's length counts.
        _open_up(self._top)
        while entries := _some_entries(self._top):
            for name, is_folder in entries:
                if is_folder:
                    self._dissolve(name)
                else:
                    os.unlink(name, dir_fd=self._top)

    def remove(self) -> None:
        """Empties and removes it."""
        try:
            self.clear()
        finally:
            os.close(self._top)
        self.path.rmdir()

    def _dissolve(self, name: bytes) -> None:
        with _entered(name, self._top) as inner:
            while entries := _some_entries(inner):
                for child, is_folder in entries:
                    if is_folder:
                        # To move a folder is to write its "..", which its mode may forbid.
                        _enterable(child, inner)
                        free = b"up-" + secrets.token_hex(12).encode()
                        os.rename(child, free, src_dir_fd=inner, dst_dir_fd=self._top)
                    else:
                        os.unlink(child, dir_fd=inner)
        os.rmdir(name, dir_fd=self._top)

    def _walk(self, depth: int) -> Iterator[tuple[tuple[bytes, ...], os.stat_result]]:
        """Every entry, of folders down to this depth, with what it is. Few names are held at a time."""
        waiting: list[tuple[bytes, ...]] = [()]
        while waiting:
            folder = waiting.pop()
            with contextlib.suppress(OSError), self._opened(folder) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    path = (*folder, os.fsencode(entry.name))
                    with contextlib.suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        yield path, found
                        if stat.S_ISDIR(found.st_mode) and len(path) < depth:
                            waiting.append(path)

    @contextlib.contextmanager
    def _opened(self, path: tuple[bytes, ...]) -> Iterator[int]:
        """A descriptor of a folder below, come to name by name."""
        descriptor = os.dup(self._top)
        try:
            _open_up(descriptor)
            for name in path:
                with _entered(name, descriptor) as inner:
                    os.dup2(inner, descriptor, inheritable=False)
            yield descriptor
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _entered(name: bytes, parent: int) -> Iterator[int]:
    """A folder's descriptor, also of one whose mode keeps its owner out."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        _enterable(name, parent)
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        _open_up(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_up(descriptor: int) -> None:
    """Lets its owner, who may be this server, list and enter a folder: its files are not hidden by its mode."""
    mode = os.fstat(descriptor).st_mode
    if mode & 0o700 != 0o700:
        os.fchmod(descriptor, stat.S_IMODE(mode) | 0o700)


def _enterable(name: bytes, parent: int) -> None:
    # By a descriptor that cannot be a link's: chmod by name would follow one that has come in between.
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", 0o700)  # noqa: PTH101
    finally:
        os.close(descriptor)


def _some_entries(descriptor: int) -> list[tuple[bytes, bool]]:
    """Some names, and whether they are folders'; none only when it is empty."""
    with os.scandir(descriptor) as entries:
        return [
            (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in itertools.islice(entries, 1_000)
        ]


def _fill(copy: BinaryIO, content: bytes | Path, size_bytes_max: int) -> None:
    if isinstance(content, bytes):
        if len(content) <= size_bytes_max:
            copy.write(content)
            return
    else:
        with content.open("rb") as source:
            if os.fstat(source.fileno()).st_size <= size_bytes_max:
                shutil.copyfileobj(source, copy, _COPY_BYTES)
                return
    raise SandboxRefusal(f"This file is larger than the {size_bytes_max:,} bytes that there is room for.")


def _found(path: tuple[bytes, ...], found: os.stat_result) -> Found:
    return Found(path, found.st_size, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
