"""Servers that several processes share, started for the time of the measuring: PostgreSQL and Redis, from the system.

Both listen on 127.0.0.1 and have their own defaults; above all, PostgreSQL waits for the disk at every commit.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.processes import Failed, free_port, process_seconds

_USER: Final = "understudy"
_SECONDS_MAX: Final = 30.0
_LOOK_SECONDS: Final = 0.02
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Engine:
    """A server that listens on 127.0.0.1, and its address."""

    def __init__(self, url: str, child: "subprocess.Popen[bytes]") -> None:
        self.url = url
        self._child = child

    def cpu_seconds(self) -> float:
        """User and system time of the server and of all the processes that it ever started."""
        own = self._child.pid
        of_ended = sum(int(field) for field in _fields(own)[13:15]) / _TICKS_PER_SECOND
        return process_seconds(own) + of_ended + sum(_seconds_if_there(child) for child in _children(own))


class Postgres(Engine):
    def __init__(self, programs: Path, directory: Path, url: str, child: "subprocess.Popen[bytes]") -> None:
        super().__init__(url, child)
        self._programs = programs
        self._directory = directory

    def figure(self, statement: str) -> int:
        """What a statement answers that selects one number."""
        words: list[str | Path] = [
            self._programs / "psql",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            self.url,
            "-c",
            statement,
        ]
        answer = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self._directory)
        if answer.returncode != 0:
            raise Failed(f"PostgreSQL did not answer: {answer.stderr}")
        return int(answer.stdout.split()[-1])


@contextmanager
def postgres() -> Iterator[Postgres | None]:
    """A new server with an empty database, where Debian's programs or `initdb` on the path are found; else `None`.

    Its data are in the system's directory for temporary files: it may not run as root, and a user of its own has no
    way into directories of root's.
    """
    programs = _programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="understudy-bench-pg-", ignore_cleanup_errors=True) as name:
        directory, port, password = Path(name), free_port(), secrets.token_hex(16)
        user = _own(directory)
        secret = directory / "password"
        secret.write_text(password)
        init: list[str | Path] = ["-A", "scram-sha-256", "--pwfile", secret, "-U", _USER, "-E", "UTF8", "--locale=C"]
        _check(programs / "initdb", "-D", directory / "data", *init, cwd=directory, user=user)
        # Over TCP, as with another machine.
        options: list[str | Path] = ["-D", directory / "data", "-k", directory, "-h", "127.0.0.1", "-p", str(port)]
        url = f"postgresql://{_USER}:{password}@127.0.0.1:{port}/postgres"
        with _child([programs / "postgres", *options], directory, signal.SIGINT, user=user) as child:
            _until_answering(child, [programs / "pg_isready", "-q", "-d", url], directory)
            yield Postgres(programs, directory, url, child)


@contextmanager
def redis() -> Iterator[Engine | None]:
    """A new server that keeps nothing, where `redis-server` or `valkey-server` is found; else `None`."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="understudy-bench-redis-") as name:
        port = str(free_port())
        words = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", name]
        with _child(words, Path(name), signal.SIGTERM) as child:
            cli = Path(program).with_name(Path(program).name.replace("server", "cli"))
            _until_answering(child, [cli, "-p", port, "ping"], Path(name))
            yield Engine(f"redis://127.0.0.1:{port}/0", child)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def _own(directory: Path) -> str | None:
    """The user that the server is to run as, whose the directory is from now on: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    owner = pwd.getpwnam("postgres")
    os.chown(directory, owner.pw_uid, owner.pw_gid)
    return owner.pw_name


def _check(*words: str | Path, cwd: Path, user: str | None) -> None:
    done = subprocess.run(words, cwd=cwd, user=user, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{words[0]} failed: {done.stderr[-1000:]}")


@contextmanager
def _child(
    words: Sequence[str | Path], directory: Path, ending: signal.Signals, *, user: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    with (directory / "log").open("wb") as log:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, user=user)
        try:
            yield child
        finally:
            child.send_signal(ending)
            try:
                child.wait(_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _until_answering(child: "subprocess.Popen[bytes]", asking: Sequence[str | Path], directory: Path) -> None:
    deadline = time.monotonic() + _SECONDS_MAX
    while time.monotonic() < deadline and child.poll() is None:
        if subprocess.run(asking, capture_output=True, check=False, cwd=directory).returncode == 0:
            return
        time.sleep(_LOOK_SECONDS)  # there is no event to wait on in another process's start
    raise Failed(f"A server did not start: {(directory / 'log').read_text(errors='replace')[-1000:]}")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _seconds_if_there(pid: int) -> float:
    with contextlib.suppress(OSError):  # it ended just now
        return process_seconds(pid)
    return 0.0


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on, so that the first is the third of proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
