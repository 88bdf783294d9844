"""A real Redis server for the tests, on a Unix socket of its own: one for each process that runs tests.

Without its program (Debian's `redis-server`) the tests that need it are skipped; with CI=true they fail.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest

START_SECONDS = 10.0


class RedisServer:
    def __init__(self, program: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="us-redis-"))
        self._program = program
        self._socket = self.directory / "socket"
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", self.directory],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._socket.exists():
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.005)  # there is no event to wait on in another process's start

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._socket.unlink(missing_ok=True)

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
