"""The command line of bubblewrap. It is a toolkit: how well it holds is decided here, and nowhere else."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from understudy.sandbox.limits import SandboxLimits

__all__ = ["DATA", "ENVIRONMENT", "Descriptors", "Proc", "Sources", "bwrap_arguments"]

DATA: Final = "/mnt/data"

# `empty` hides what /proc tells of the machine, and starts where a container masks parts of its own. Everyday code
# does without; psutil does not.
Proc: TypeAlias = Literal["empty", "masked"]

_HOME: Final = "/home/sandbox"
_TMP: Final = "/tmp"  # noqa: S108 - the sandbox's own
_SHM: Final = "/dev/shm"  # noqa: S108
_VENV: Final = "/opt/venv"
_RUNNER: Final = "/opt/runner.py"
_UID: Final = "1000"

ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": f"{_VENV}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": _HOME,
    "USER": "sandbox",
    "LOGNAME": "sandbox",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "VIRTUAL_ENV": _VENV,
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    # Each library would start a thread for every core of the machine, in every session.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_ETC: Final = ("ld.so.cache", "alternatives", "fonts", "localtime")
_PROC_FILES: Final = (
    *("kallsyms", "kcore", "keys", "key-users", "kmsg", "timer_list", "sched_debug", "config.gz", "sysrq-trigger"),
    *("modules", "iomem", "ioports", "slabinfo", "vmallocinfo", "latency_stats", "kpagecount", "kpageflags"),
)
_PROC_FOLDERS: Final = ("acpi", "scsi", "bus", "irq", "fs")


class Sources(Struct, frozen=True, kw_only=True):
    """Folders as the process that starts bubblewrap sees them."""

    data: Path
    environment: Path
    bases: Mapping[Path, Path]  # where it has to be inside -> where it is


class Descriptors(Struct, frozen=True, kw_only=True):
    """What bubblewrap inherits beside its three streams. Of these only `events` reaches the code's process."""

    seccomp: int
    runner: int
    status: int
    events: int
    block: int | None = None

    def all(self) -> tuple[int, ...]:
        listed = (self.seccomp, self.runner, self.status, self.events, self.block)
        return tuple(number for number in listed if number is not None)


def bwrap_arguments(
    *, sources: Sources, descriptors: Descriptors, limits: SandboxLimits, proc: Proc, options: str
) -> list[str]:
    """All behind the program's name. `options` is what the runner is given."""
    return [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--disable-userns", "--uid", _UID, "--gid", _UID, "--hostname", "sandbox", "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        *_programs(sources),
        *("--perms", "0444", "--ro-bind-data", str(descriptors.runner), _RUNNER),
        *(_masked_proc() if proc == "masked" else ("--tmpfs", "/proc", "--remount-ro", "/proc")),
        *("--dev", "/dev", *_sized(limits.shm_bytes, _SHM), "--remount-ro", "/dev"),
        *_sized(limits.tmp_bytes, _TMP),
        *_sized(limits.home_bytes, _HOME),
        *("--bind", str(sources.data), DATA, "--chdir", DATA),
        *("--seccomp", str(descriptors.seccomp), "--json-status-fd", str(descriptors.status)),
        *(() if descriptors.block is None else ("--block-fd", str(descriptors.block))),
        *("--remount-ro", "/"),
        *(f"{_VENV}/bin/python", "-I", _RUNNER, options),
    ]


def _programs(sources: Sources) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        place = Path("/") / name
        if place.is_symlink():
            yield from ("--symlink", str(place.readlink()), str(place))
        elif place.is_dir():
            yield from ("--ro-bind", str(place), str(place))
    for name in _ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    for inside, outside in sources.bases.items():
        yield from ("--ro-bind", str(outside), str(inside))
    yield from ("--ro-bind", str(sources.environment), _VENV)


def _masked_proc() -> Iterator[str]:
    # Without the second one, a sandbox whose user is the machine's root writes the kernel's settings.
    yield from ("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys")
    for name in _PROC_FILES:
        if Path("/proc", name).exists():
            yield from ("--ro-bind", "/dev/null", f"/proc/{name}")
    for name in _PROC_FOLDERS:
        if Path("/proc", name).is_dir():
            yield from ("--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}")


def _sized(size_bytes: int, place: str) -> tuple[str, ...]:
    # A tmpfs without a size may take half of the machine's memory.
    return ("--size", str(size_bytes), "--tmpfs", place)
