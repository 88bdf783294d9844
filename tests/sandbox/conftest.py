"""A server process with sandboxes for each module and each kind of user; its sessions are shared by the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandboxes import USERS, Host, host, within_memory

# Small enough that reaching a limit takes no time.
LIMITS = {
    "call_seconds": 20.0,
    "memory_bytes": 400 * 2**20,
    "disk_bytes": 48 * 2**20,
    "file_bytes": 32 * 2**20,
    "tmp_bytes": 16 * 2**20,
    "home_bytes": 8 * 2**20,
    "shm_bytes": 8 * 2**20,
    "entries": 500,
}


@pytest.fixture(scope="module", params=USERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Whatever the module's tests do, this server's memory stays where it was."""
    with host(tmp_path_factory.mktemp("server"), request.param, limits=LIMITS) as running:
        running.run("1")
        before = running.memory()
        yield running
        within_memory(running, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
