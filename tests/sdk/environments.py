"""The official clients, each in an environment of its own below `.envs/`, as its file in `pins/` says.

    python tests/sdk/environments.py        builds what is missing or pinned otherwise

An environment whose stamp equals its pin is left alone, so that a second build takes no time and no network.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CLIENTS", "Client", "Unavailable", "build_all"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent / ".envs"
STAMP = "pin.txt"
BUILD_SECONDS = 300
AT_ONCE = 3  # builds wait for the network more than for the processor


class Unavailable(Exception):
    """An environment cannot be built here; the text says why."""


@dataclass(frozen=True)
class Client:
    """One version of an official client. `name` is `python-3` or `node-6`."""

    name: str

    @property
    def is_node(self) -> bool:
        return self.name.startswith("node-")

    @property
    def pin(self) -> Path:
        return HERE / "pins" / self.name / "package.json" if self.is_node else HERE / "pins" / f"{self.name}.txt"

    @property
    def directory(self) -> Path:
        return ROOT / self.name

    @property
    def command(self) -> list[str]:
        """What runs this client's scenarios, from within `directory`."""
        if self.is_node:
            return ["node", str(HERE / "scenarios.mjs")]
        folder = "Scripts" if os.name == "nt" else "bin"
        return [str(self.directory / folder / "python"), str(HERE / "scenarios.py")]


CLIENTS = tuple(Client(name) for name in ("python-1", "python-2", "python-3", "node-4", "node-6"))


def build_all(clients: Iterable[Client] = CLIENTS) -> Mapping[Client, Unavailable | None]:
    """Builds what is missing, several at once. For each client `None`, or why it is not there."""
    chosen = list(clients)
    ROOT.mkdir(exist_ok=True)
    # Two test runs at once must not build into each other's directories.
    with (ROOT / "lock").open("w") as lock, ThreadPoolExecutor(AT_ONCE) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return dict(zip(chosen, pool.map(_try_to_build, chosen), strict=True))


def _try_to_build(client: Client) -> Unavailable | None:
    try:
        _build(client)
    except Unavailable as reason:
        return reason
    return None


def _build(client: Client) -> None:
    if client.is_node:
        _found("node")
    wanted = _stamp(client)
    stamp = client.directory / STAMP
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return
    shutil.rmtree(client.directory, ignore_errors=True)
    client.directory.mkdir(parents=True)
    if client.is_node:
        shutil.copy(client.pin, client.directory)
        _run([_found("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund"], client)
    else:
        _run([sys.executable, "-m", "venv", str(client.directory)], client)
        pip = [client.command[0], "-m", "pip", "install", "--disable-pip-version-check", "--retries", "2"]
        _run([*pip, "--no-deps", "-r", str(client.pin)], client)
    stamp.write_text(wanted, "utf-8")


def _stamp(client: Client) -> str:
    pin = client.pin.read_text("utf-8")
    return pin if client.is_node else f"# Python {sys.version_info.major}.{sys.version_info.minor}\n{pin}"


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{program} is not installed")
    return path


def _run(command: list[str], client: Client) -> None:
    try:
        ended = subprocess.run(
            command, cwd=client.directory, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{client.name} could not be built: {error}") from error
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["no words"]
        raise Unavailable(f"{client.name} could not be built: {said[-1]}")


def main() -> int:
    """Builds all; the exit status is the number of clients that are not there."""
    missing = {client: reason for client, reason in build_all().items() if reason is not None}
    for client in CLIENTS:
        print(f"{client.name}: {missing.get(client, 'ready')}")
    return len(missing)


if __name__ == "__main__":
    sys.exit(main())
