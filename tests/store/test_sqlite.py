"""The SQLite file: who may read it, that it keeps what was acknowledged, and what a full disk does."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.store import PROJECT, begun_thread, message, refusal, thread
from understudy.ports import PageQuery, Store, StoreUnavailable
from understudy.store.sqlite import open_sqlite


async def _ids(store: Store, thread_id: str) -> list[str]:
    ids: list[str] = []
    query = PageQuery(limit=100, descending=False)
    while True:
        page = await store.page("message", PROJECT, thread_id, query)
        ids += page.ids
        if not page.has_more:
            return ids
        query = PageQuery(limit=100, descending=False, after=ids[-1])


def _program(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _writer(*arguments: object) -> subprocess.Popen[str]:
    return _program("-m", "support.store_writer", *arguments)


def _files(directory: Path) -> dict[str, int]:
    """The modes of a directory's files."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}


async def _acknowledged_are_there(path: Path, acknowledged: Sequence[str]) -> None:
    store = await open_sqlite(path)
    try:
        assert acknowledged
        assert set(acknowledged) <= set(await _ids(store, "thread_child"))
        await store.check()
    finally:
        await store.close()


async def test_the_file_and_its_log_are_their_owners_alone(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "a b?#%.db")
    await store.check()
    modes = _files(tmp_path)
    await store.close()
    assert modes == {"a b?#%.db": 0o600, "a b?#%.db-wal": 0o600, "a b?#%.db-shm": 0o600}
    assert _files(tmp_path) == {"a b?#%.db": 0o600}


async def test_rows_are_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "u.db")
    thread_id = await begun_thread(store)
    await store.close()
    store = await open_sqlite(tmp_path / "u.db")
    assert await store.thread_exists(PROJECT, thread_id)
    await store.close()


async def test_what_cannot_be_opened_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_bytes(b"This is no database, however long it may be. " * 100)
    for path in (tmp_path / "text.db", tmp_path / "nowhere" / "u.db", tmp_path):
        unavailable = await refusal(StoreUnavailable, open_sqlite(path))
        assert str(path) in str(unavailable)


async def test_a_closed_store_takes_no_more_writes(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "u.db")
    await store.close()
    await refusal(StoreUnavailable, store.check())


async def test_a_full_disk_refuses_writes_and_keeps_all_that_was_acknowledged(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "u.db", pages_max=100)
    first, second = thread(), thread()
    await store.add_thread(PROJECT, first, ())
    await store.add_thread(PROJECT, second, ())
    given = [message((first, second)[n % 2].id, "x" * 2000) for n in range(300)]
    outcomes = await asyncio.gather(*(store.add_message(PROJECT, m) for m in given), return_exceptions=True)
    kept = [m.message for m, outcome in zip(given, outcomes, strict=True) if outcome is None]
    assert 10 < len(kept) < 290
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes if outcome is not None)
    for made in (first, second):
        assert await _ids(store, made.id) == [m.id for m in kept if m.thread_id == made.id]

    # Room again.
    assert await store.delete_thread(PROJECT, first.id) == []
    late = message(second.id)
    await store.add_message(PROJECT, late)
    assert (await _ids(store, second.id))[-1] == late.message.id
    await store.close()


async def test_a_disk_that_fails_to_write_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with _writer(tmp_path / "u.db", 600_000) as child:
        printed, errors = child.communicate(timeout=30)
    assert child.returncode == 0, errors
    assert "SQLite cannot write" in errors
    await _acknowledged_are_there(tmp_path / "u.db", printed.split())


async def test_a_killed_program_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with _writer(tmp_path / "u.db") as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip() for _ in range(300)]
        child.send_signal(signal.SIGKILL)
        printed, errors = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGKILL, errors
    # The last line may have been cut off by the kill.
    acknowledged += printed.split("\n")[:-1]
    await _acknowledged_are_there(tmp_path / "u.db", acknowledged)


_OPENS = """
import asyncio, pathlib, sys
from support.store import PROJECT, thread
from understudy.store.sqlite import open_sqlite

async def main(path, name):
    print("ready", flush=True)
    sys.stdin.readline()
    store = await open_sqlite(path)
    for n in range(10):
        await store.add_thread(PROJECT, thread(id=f"thread_{name}_{n}"), ())
    await store.close()

asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
"""


async def test_programs_that_open_a_new_file_at_once_share_it(tmp_path: Path) -> None:
    children = [_program("-c", _OPENS, tmp_path / "u.db", n) for n in range(3)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=30)
        assert child.returncode == 0, errors
    store = await open_sqlite(tmp_path / "u.db")
    for child_number in range(3):
        for n in range(10):
            assert await store.thread_exists(PROJECT, f"thread_{child_number}_{n}")
    await store.close()


async def test_readers_go_on_while_another_program_holds_the_lock(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "u.db")
    thread_id = await begun_thread(store)
    other = sqlite3.connect(tmp_path / "u.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(store.add_message(PROJECT, message(thread_id)))
    await asyncio.sleep(0)
    assert await store.thread_exists(PROJECT, thread_id)
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    await waiting
    assert len(await _ids(store, thread_id)) == 1
    await store.close()
