"""Making the sandbox's Python environment: from pinned wheels, beside the one that is there, and then in its place."""

import ctypes
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import structlog
from msgspec import Struct

from understudy.confine.filters import filters_exist
from understudy.ports import SandboxUnavailable
from understudy.sandbox.diagnosis import NO_LINUX
from understudy.sandbox.environment import lock_of, read_environment
from understudy.sandbox.opening import environment_in

__all__ = ["Built", "NotBuilt", "Progress", "build_environment", "built_environment"]

log = structlog.get_logger(__name__)

_STAMP: Final = "understudy.json"
_STAGING: Final = "environment.new-"
_PYTHONS: Final = ((3, 11), (3, 13))  # for which there are pins
_ASK_SECONDS: Final = 60
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
# Prints the version, and fails where Debian has split venv off.
_ASK: Final = "import sys, venv, ensurepip; print(*sys.version_info[:2])"

# What is being done, how many packages are done, and of how many.
Progress: TypeAlias = Callable[[str, int, int], None]


class NotBuilt(Exception):
    """There is no new environment, and an old one is as it was. The text is one sentence for the operator."""


class Built(Struct, frozen=True):
    """What an environment was made of. `pins` is a digest of the list."""

    profile: str
    python: str
    pins: str


def built_environment(folder: Path) -> Built | None:
    """What stands there; None where nothing does, or something that was made otherwise."""
    try:
        return msgspec.json.decode((environment_in(folder) / _STAMP).read_bytes(), type=Built)
    except (OSError, msgspec.MsgspecError):
        return None


def build_environment(
    folder: Path, profile: str, requirements: str, *, python: str | None = None, progress: Progress
) -> bool:
    """Makes the environment of that name below `folder`, unless it is there; says whether it was made.

    `requirements` are the lines of a file for pip, each with a hash. `python` is the interpreter, by path or by name;
    without one this process's. Raises `NotBuilt`.
    """
    if not filters_exist():
        raise NotBuilt(NO_LINUX)
    interpreter, version = _interpreter(python)
    wanted = Built(profile, version, hashlib.sha256(requirements.encode()).hexdigest())
    place = environment_in(folder)
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with _locked(folder):
            if built_environment(folder) == wanted and _is_whole(place):
                return False
            for left in folder.glob(f"{_STAGING}*"):
                shutil.rmtree(left, ignore_errors=True)
            staging = folder / f"{_STAGING}{secrets.token_hex(4)}"
            try:
                _install(staging, interpreter, requirements, progress)
                (staging / _STAMP).write_bytes(msgspec.json.encode(wanted))
                _put_in_place(staging, place)
            finally:
                # After an exchange this is the old one.
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise NotBuilt(f"The environment cannot be written below {folder}: {error}.") from error
    return True


def _interpreter(python: str | None) -> tuple[str, str]:
    """Its path, and its version in two numbers."""
    path = shutil.which(python or sys.executable)
    if path is None:
        raise NotBuilt(f"There is no Python interpreter {python!r}.")
    try:
        asked = subprocess.run(  # noqa: S603 - the operator's own interpreter
            [path, "-I", "-c", _ASK], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"{path} does not run: {error}.") from error
    if asked.returncode != 0:
        raise NotBuilt(f"{path} cannot make environments; on Debian and Ubuntu: `apt-get install python3-venv`.")
    numbers = tuple(int(number) for number in asked.stdout.split())
    if not _PYTHONS[0] <= numbers <= _PYTHONS[1]:
        raise NotBuilt(
            f"The packages are pinned for Python 3.11 to 3.13, and {path} is {'.'.join(map(str, numbers))}: name "
            "another one with `--python`."
        )
    return path, ".".join(map(str, numbers))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two builds one after another: the second finds what the first made."""
    with lock_of(environment_in(folder)).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_whole(place: Path) -> bool:
    try:
        read_environment(place)
    except SandboxUnavailable:
        return False
    return True


def _install(staging: Path, interpreter: str, requirements: str, progress: Progress) -> None:
    total = requirements.count("==")
    progress("making the environment", 0, total)
    # Without pip: code in the sandbox has no use for it.
    _run([interpreter, "-I", "-m", "venv", "--without-pip", str(staging)])
    file = staging / "requirements.txt"
    file.write_text(requirements, "utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(staging / "bin" / "python"), "--disable-pip-version-check"]
    pip += ["--no-input", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--progress-bar", "off"]
    begun = 0

    def told(line: str) -> None:
        nonlocal begun
        # The second is what it says of a wheel in a folder.
        if found := re.match(r"Collecting ([\w.-]+)|Processing (?:\S*/)?([\w.]+)", line):
            begun += 1
            progress(f"fetching {found[1] or found[2]}", begun, total)
        elif line.startswith("Installing collected packages"):
            progress("installing", total, total)

    _run([*pip, "--requirement", str(file)], told)


def _run(command: list[str], told: Callable[[str], object] = len) -> None:
    # Readable for the sandbox's user, whatever the operator's umask is.
    with subprocess.Popen(  # noqa: S603 - a fixed command over the operator's interpreter
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        umask=0o022,
    ) as running:
        assert running.stdout is not None
        said: list[str] = []
        try:
            for line in running.stdout:
                said = [*said[-40:], line.strip()]
                told(line)
        except BaseException:
            running.kill()
            raise
    if running.returncode != 0:
        log.error("sandbox_environment_not_built", exit_code=running.returncode, said="\n".join(said)[-2000:])
        raise NotBuilt(_why(said))


def _why(said: list[str]) -> str:
    text = "\n".join(said)
    if "No module named pip" in text:
        return f"The server's own Python has no pip to install with: `{sys.executable} -m ensurepip` adds it."
    if re.search(r"No matching distribution|Connection|Temporary failure|timed out|Max retries", text):
        return (
            "pip found no packages: is there a way to a package index? A mirror is named by PIP_INDEX_URL, a folder of "
            "wheels by PIP_FIND_LINKS with PIP_NO_INDEX=1."
        )
    if "No space left" in text:
        return "The disk is full."
    last = [line for line in said if line.startswith("ERROR")] or said or ["it ended without a word"]
    return f"The environment could not be built: {last[-1]}"


def _put_in_place(staging: Path, place: Path) -> None:
    """In one step, where the file system has one for it: a session that starts meanwhile finds the old or the new."""
    if not place.exists():
        staging.rename(place)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    exchanged = hasattr(libc, "renameat2") and (
        libc.renameat2(_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(place), _RENAME_EXCHANGE) == 0
    )
    if not exchanged:
        old = staging.with_suffix(".old")
        place.rename(old)
        staging.rename(place)
        old.rename(staging)
