"""A real Redis server for the tests, on a Unix socket of its own: one for each process that runs tests.

Without its program (Debian's `redis-server`) the tests that need it are skipped; with CI=true they fail.
"""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

SECONDS_MAX = 10.0


class RedisServer:
    def __init__(self, program: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="us-redis-"))
        self._program = program
        self._socket = self.directory / "socket"
        self._pid_file = self.directory / "pid"
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        # Not a child of this process: other tests count those.
        options = ["--port", "0", "--unixsocket", self._socket, "--save", "", "--dir", self.directory]
        words = [self._program, *options, "--daemonize", "yes", "--pidfile", self._pid_file]
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        self._until(self._socket.exists)

    def stop(self) -> None:
        os.kill(int(self._pid_file.read_text("ascii")), signal.SIGTERM)
        self._until(lambda: not self._pid_file.exists() and not self._socket.exists())

    def _until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not true():
            assert time.monotonic() < deadline, "Redis takes too long"
            time.sleep(0.005)  # there is no event to wait on in another process

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@cache
def shared_redis() -> RedisServer:
    """The server that tests share."""
    server = new_redis()
    atexit.register(server.remove)
    return server


def new_redis() -> RedisServer:
    """A server of the test's own, for one that stops it."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        reason = "Redis is not here: on Debian and Ubuntu `apt install redis-server`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return RedisServer(program)
