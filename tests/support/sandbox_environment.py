"""The environment that the tests' sandboxes run, built once below `.envs/`, as `tests/sandbox/pins.txt` says.

python tests/support/sandbox_environment.py        builds it unless it is there
"""

import fcntl
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ENVIRONMENT", "Unavailable", "build"]

TESTS = Path(__file__).parents[1]
PINS = TESTS / "sandbox" / "pins.txt"
ENVIRONMENT = TESTS.parent / ".envs" / "sandbox"
BUILD_SECONDS = 300


class Unavailable(Exception):
    """It cannot be built here; the text says why."""


def build() -> Path:
    """Its folder. A second call takes no time and no network. Raises `Unavailable`."""
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    with ENVIRONMENT.with_suffix(".lock").open("w") as lock:
        # Two test processes at once must not build into the same folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = f"# Python {sys.version_info.major}.{sys.version_info.minor}\n{PINS.read_text('utf-8')}"
        stamp = ENVIRONMENT / "pins.txt"
        if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
            _build()
            stamp.write_text(wanted, "utf-8")
    return ENVIRONMENT


def _build() -> None:
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if importlib.util.find_spec("pip") is None:
        raise Unavailable("the tests' own environment has no pip")
    python = str(ENVIRONMENT / "bin" / "python")
    # Without pip: code in the sandbox has no use for it.
    _run([sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)])
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--retries", "2", "--no-deps", "--only-binary", ":all:", "-r", str(PINS)])


def _run(command: list[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["no words"]
        raise Unavailable(f"the sandbox's environment could not be built: {said[-1]}")


if __name__ == "__main__":
    print(build())
