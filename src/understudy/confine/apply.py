"""What a process asks the kernel to hold itself to. None of it can be taken back."""

import ctypes
import errno
import os
import sys
from typing import Final

from understudy.confine.filters import filters_exist, network_filter

__all__ = ["deny_network", "limit"]

_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1  # for the threads that there are, too
_SECCOMP_NUMBER: Final = {"x86_64": 317, "aarch64": 277}
_INSTRUCTION_BYTES: Final = 8


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def deny_network() -> bool:
    """True once this process, its threads and all its children can open no socket: `socket()` raises PermissionError.

    False where there are no such filters: another system than Linux, or another processor than x86_64 and aarch64.
    Raises OSError where the kernel refuses.
    """
    if not filters_exist():
        return False
    instructions = network_filter()
    program = _Program(len(instructions) // _INSTRUCTION_BYTES, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    long = ctypes.c_ulong
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, long(1), long(0), long(0), long(0)) != 0:
        raise _failed("PR_SET_NO_NEW_PRIVS")
    number = long(_SECCOMP_NUMBER[os.uname().machine])
    # With TSYNC a positive answer is the thread that could not follow.
    if libc.syscall(number, long(_SECCOMP_SET_MODE_FILTER), long(_SECCOMP_FILTER_FLAG_TSYNC), ctypes.byref(program)):
        raise _failed("seccomp")
    return True


def limit(
    *,
    memory_bytes: int | None = None,
    cpu_seconds: int | None = None,
    file_bytes: int | None = None,
    open_files: int | None = None,
    processes: int | None = None,
) -> bool:
    """True once this process and each of its children are held to these limits, and leave no core files.

    Memory is address space: what is over it raises MemoryError. At `cpu_seconds` the process gets SIGXCPU, a second
    later SIGKILL; over `file_bytes` a write raises OSError (EFBIG). `processes` counts all of this user's. False, and
    nothing done, elsewhere than on Linux. A limit that is lower already stays.
    """
    if sys.platform != "linux":
        return False
    import resource

    wanted = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        resource.RLIMIT_CPU: (cpu_seconds, None if cpu_seconds is None else cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (file_bytes, file_bytes),
        resource.RLIMIT_NOFILE: (open_files, open_files),
        resource.RLIMIT_NPROC: (processes, processes),
    }
    for kind, (soft, hard) in wanted.items():
        if soft is None or hard is None:
            continue
        now_soft, now_hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (_lower(soft, now_soft), _lower(hard, now_hard)))
    return True


def _lower(wanted: int, now: int) -> int:
    return wanted if now < 0 else min(wanted, now)  # RLIM_INFINITY is -1


def _failed(what: str) -> OSError:
    number = ctypes.get_errno() or errno.EAGAIN
    return OSError(number, f"{what}: {os.strerror(number)}")
