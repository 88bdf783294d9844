"""The processes below one, by what /proc says: to stop them, let them go on, and count their memory."""

import contextlib
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Member", "below", "go_on", "kill", "memory_bytes", "offer_to_oom_killer", "send", "stop", "unlinked_bytes"]

_PASSES_MAX = 8
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


class Member(NamedTuple):
    """A process. Its number may be given to another one after its end; the start, in ticks, tells them apart."""

    pid: int
    started: int


def below(root: int) -> list[Member]:
    """All processes below this one, parents first; it is a picture, and they may go on making more."""
    found: list[Member] = []
    parents = [root]
    while parents:
        for pid in _children(parents.pop()):
            started = _started(pid)
            if started is not None:
                found.append(Member(pid, started))
                parents.append(pid)
    return found


def stop(root: int) -> None:
    """Halts all processes below this one, also those that they make meanwhile."""
    halted: set[Member] = set()
    for _ in range(_PASSES_MAX):
        left = set(below(root)) - halted
        if not left:
            return
        send(left, signal.SIGSTOP)
        halted |= left


def go_on(root: int) -> None:
    send(below(root), signal.SIGCONT)


def kill(root: int) -> None:
    """Ends this process and all below it, none of which is left to another parent meanwhile."""
    started = _started(root)
    if started is None:
        return
    top = [Member(root, started)]
    send(top, signal.SIGSTOP)
    stop(root)
    send(below(root), signal.SIGKILL)
    send(top, signal.SIGKILL)


def offer_to_oom_killer(member: Member) -> None:
    """Where the machine runs out of memory, the kernel ends this one, and what it starts, before the server."""
    with contextlib.suppress(*_GONE):
        Path(f"/proc/{member.pid}/oom_score_adj").write_text("1000", "ascii")


def memory_bytes(members: Sequence[Member], enough: int) -> int:
    """What they use, pages that they share counted once; more than they use while that is less than `enough`."""
    resident = sum(_resident(member.pid) for member in members)
    if resident < enough:
        return resident
    return sum(_proportional(member.pid) for member in members)


def unlinked_bytes(members: Sequence[Member], device: int) -> int:
    """The disk space of files on `device` that have no name any more, and so are in no folder, but are open."""
    files: dict[int, int] = {}
    for member in members:
        with contextlib.suppress(*_GONE):
            for entry in os.scandir(f"/proc/{member.pid}/fd"):
                with contextlib.suppress(*_GONE):
                    found = entry.stat()
                    if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_dev == device:
                        files[found.st_ino] = found.st_blocks * 512
    return sum(files.values())


def send(members: Sequence[Member] | set[Member], number: signal.Signals) -> None:
    for member in members:
        try:
            descriptor = os.pidfd_open(member.pid)
        except OSError:
            continue
        try:
            # Now that the descriptor holds a process, is it still the one that was meant?
            if _started(member.pid) == member.started:
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(*_GONE):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(*_GONE):
                yield from map(int, Path(task.path, "children").read_bytes().split())


def _started(pid: int) -> int | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes()
    except _GONE:
        return None
    # The second word is the program's name, and may hold anything.
    return int(words[words.rindex(b")") + 2 :].split()[19])


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (*_GONE, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except _GONE:
        return _resident(pid)
    return 0
