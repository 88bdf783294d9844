"""A real PostgreSQL server for the tests, with data that is thrown away: one for each process that runs tests.

It is started at the first use, listens on a Unix socket in a directory of its own, and is stopped when the process
ends. Without its programs (Debian's `postgresql`) the tests that need it are skipped; with CI=true they fail.
"""

import atexit
import contextlib
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_USER = "understudy"


def database_url(directory: Path) -> str:
    """The URL of a database that belongs to this directory: empty at first, and the same when asked for again.

    It is a schema of one database: to make a database takes PostgreSQL ten times as long.
    """
    name = "test_" + hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    server = shared_postgres()
    server.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    return f"{server.url('postgres')}&search_path={name}"


class PostgresServer:
    """A server on a Unix socket in `directory`."""

    def __init__(self, programs: Path, directory: Path, wal_segment_mb: int) -> None:
        self.directory = directory
        self._programs = programs
        self._as_user = _someone_else()
        owner = pwd.getpwnam(self._as_user) if self._as_user else None
        if owner is not None:
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        words = ["-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", f"--wal-segsize={wal_segment_mb}"]
        self._run("initdb", "-D", self._data, *words)
        self.start()

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@/{database}?host={self.directory}"

    def start(self) -> None:
        # What is thrown away need not reach the disk.
        options = f"-k {self.directory} -c listen_addresses='' -c fsync=off -c full_page_writes=off"
        self._run("pg_ctl", "-D", self._data, "-l", str(self.directory / "log"), "-w", "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """`immediate`: as with a crash. `fast`: sessions are told."""
        self._run("pg_ctl", "-D", self._data, "-m", how, "-w", "stop")

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """No table or index grows any further: what is left of their own pages is filled, and then there is no room.

        The log's files are as long as they will be from their beginning, so it goes on, as on a disk of its own.
        """
        self._allow(str(self._longest_file() + 4096))  # half a page more: half of the next one is written
        try:
            yield
        finally:
            self._allow("unlimited")

    def _longest_file(self) -> int:
        """In bytes, of tables and of the log."""
        longest = 0
        for place in ("base", "pg_wal"):
            for path in (self.directory / "data" / place).rglob("*"):
                with contextlib.suppress(FileNotFoundError):
                    longest = max(longest, path.stat().st_size)
        return longest

    def _allow(self, file_bytes: str) -> None:
        # As their own user: who runs the tests may not be allowed to limit others' processes.
        for pid in [self._pid, *_children(self._pid)]:
            words = ["prlimit", f"--pid={pid}", f"--fsize={file_bytes}:"]
            subprocess.run(words, user=self._as_user, check=False, stderr=subprocess.DEVNULL)  # some end meanwhile

    @property
    def _pid(self) -> int:
        return int((self.directory / "data" / "postmaster.pid").read_text("ascii").split()[0])

    def execute(self, statement: str) -> None:
        self._run("psql", "--quiet", "--no-psqlrc", self.url("postgres"), "-c", statement)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            user=self._as_user,
            cwd=self.directory,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PGOPTIONS": "--client-min-messages=warning"},
        )


def _someone_else() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


@cache
def shared_postgres() -> PostgresServer:
    """The server that tests share."""
    opened = contextlib.ExitStack()
    server = opened.enter_context(new_postgres())
    atexit.register(opened.close)
    return server


@contextlib.contextmanager
def new_postgres(*, wal_segment_mb: int = 16) -> Iterator[PostgresServer]:
    """A server of the test's own, for one that does it harm. It must run when this is left."""
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL is not here: on Debian and Ubuntu `apt install postgresql`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # A short path: a socket's may have 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="us-pg-"))
    try:
        server = PostgresServer(programs, directory, wal_segment_mb)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def _programs() -> Path | None:
    """The newest installed version's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None
