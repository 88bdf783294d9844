"""Copies of databases: everything is in them, and what breaks one off, or differs, is found."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from support.copies import copy, fill
from support.databases import Contents, contents_of, execute
from support.postgres import database_url, shared_postgres
from support.store import PROJECT, add_file, begun_thread, open_engine, refusal, thread
from understudy.entropy import now
from understudy.ports import StoreUnavailable
from understudy.store import sides
from understudy.store.copying import CHECKING, COPYING, CopyDiffers, CopyRefused
from understudy.store.migrations import UnfinishedCopy
from understudy.store.opening import open_store, upgrade_database
from understudy.store.sqlite import open_sqlite


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


def breaking(after: int) -> Callable[[str, str, int, int], None]:
    """Breaks a copy off once it has written so many batches."""
    begun: dict[str, int] = {}
    left = [after]

    def tell(doing: str, table: str, done: int, _total: int) -> None:
        if doing == COPYING and done > begun.setdefault(table, done):
            left[0] -= 1
            if not left[0]:
                raise Interrupted

    return tell


def copied(contents: Contents) -> Contents:
    """What a copy has to hold."""
    return {table: rows for table, rows in contents.items() if table not in ("copied", "schema_version")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "old" / "understudy.db"
    fill(path)
    return path


async def test_every_column_of_every_table_goes_to_postgres_and_back(source: Path, tmp_path: Path) -> None:
    url, back, third = database_url(tmp_path), tmp_path / "back.db", database_url(tmp_path / "third")
    first = await contents_of(source)
    assert {len(rows) for _, rows in copied(first).values()} == {7}
    assert (await copy(source, url)).added == 7 * len(copied(first))
    assert copied(await contents_of(url)) == copied(first)
    await copy(url, back)
    assert copied(await contents_of(back)) == copied(first)
    await copy(url, third)
    assert copied(await contents_of(third)) == copied(first)
    assert await contents_of(source) == first
    assert (await contents_of(url))["copied"][1] == []


async def test_a_copy_that_is_broken_off_anywhere_goes_on_where_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "COPY_BATCH_ROWS", 3)
    for name, target in (("sqlite", tmp_path / "new.db"), ("postgres", database_url(tmp_path))):
        broken = 0
        while True:
            try:
                done = await copy(source, target, tell=breaking(12))
            except Interrupted:
                broken += 1
                # What is half there is not worked on meanwhile.
                await refusal(UnfinishedCopy, open_store(target))
            else:
                break
        assert broken > 4, name
        assert done.added < done.rows
        assert copied(await contents_of(target)) == copied(await contents_of(source))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE assistants SET body = 'x' WHERE seq = 3",
        "DELETE FROM assistants WHERE seq = 6",
        "UPDATE assistants SET project = 'other'",
    ],
)
async def test_a_copy_that_is_not_alike_is_found_and_made_anew(source: Path, tmp_path: Path, damage: str) -> None:
    target = tmp_path / "new.db"
    await refusal(Interrupted, copy(source, target, tell=breaking(3)))
    await execute(target, damage.replace("'x'", "x'00ff'"))
    unlike = await refusal(CopyDiffers, copy(source, target))
    assert "not alike in assistants (7 rows in the source, " in str(unlike)
    await refusal(UnfinishedCopy, open_store(target))
    again = await copy(source, target)
    assert again.added == 7
    assert copied(await contents_of(target)) == copied(await contents_of(source))


async def test_a_source_that_is_written_to_meanwhile_is_found(source: Path, tmp_path: Path) -> None:
    store = await open_sqlite(source)
    writing: list[asyncio.Task[None]] = []

    def tell(doing: str, table: str, *_: int) -> None:
        if (doing, table) == (COPYING, "threads") and not writing:
            writing.append(asyncio.create_task(store.add_thread(PROJECT, thread(metadata={"a": "b"}), ())))
        elif doing == CHECKING:  # by then its thread has had its time, also on a busy machine
            with closing(sqlite3.connect(source)) as reader:
                until = time.monotonic() + 5
                while reader.execute("SELECT COUNT(*) FROM threads").fetchone() != (8,):
                    assert time.monotonic() < until
                    time.sleep(0.001)

    url = database_url(tmp_path)
    unlike = await refusal(CopyDiffers, copy(source, url, tell=tell))
    assert "thread_metadata (8 rows in the source, 7 in the target), threads (8 rows" in str(unlike)
    await copy(source, url)
    await store.close()
    assert copied(await contents_of(url)) == copied(await contents_of(source))


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_new_rows_are_numbered_behind_all_that_ever_were(engine: str, tmp_path: Path) -> None:
    target = database_url(tmp_path) if engine == "postgres" else tmp_path / "new" / "understudy.db"
    old = tmp_path / "old.db"
    store = await open_sqlite(old)
    _, gone = [await add_file(store) for _ in range(2)]
    for _ in range(3):
        await begun_thread(store)
    await store.delete_file(PROJECT, gone)
    await store.close()
    (tmp_path / "new").mkdir()
    await copy(old, target)
    async with open_engine(engine, tmp_path / "new" if engine == "sqlite" else tmp_path) as moved:
        await add_file(moved)
        await begun_thread(moved)
    contents = await contents_of(target)
    assert sorted(row[0] for row in contents["files"][1]) == [1, 3]
    assert sorted(row[0] for row in contents["threads"][1]) == [1, 2, 3, 4]


async def test_of_two_copies_at_once_one_is_refused(source: Path, tmp_path: Path) -> None:
    url = database_url(tmp_path)
    await upgrade_database(url)
    ends = await asyncio.gather(*(copy(source, url) for _ in range(2)), return_exceptions=True)
    (refused,) = [end for end in ends if isinstance(end, Exception)]
    assert str(refused) == "Another copy into the target is going on."
    assert copied(await contents_of(url)) == copied(await contents_of(source))


async def test_a_copy_whose_server_is_stopped_goes_on_behind_it(source: Path, tmp_path: Path) -> None:
    url, postgres = database_url(tmp_path), shared_postgres()
    stopped: list[str] = []

    def tell(doing: str, table: str, *_: int) -> None:
        if (doing, table) == (COPYING, "messages") and not stopped:
            stopped.append(table)
            postgres.stop()

    try:
        unavailable = await refusal(StoreUnavailable, copy(source, url, tell=tell))
    finally:
        postgres.start()
    assert str(unavailable).startswith("PostgreSQL cannot do this: ")
    assert 0 < (await copy(source, url)).added < 7 * len(copied(await contents_of(url)))
    assert copied(await contents_of(url)) == copied(await contents_of(source))


async def test_text_that_postgres_cannot_hold_is_copied_as_the_store_writes_it(tmp_path: Path) -> None:
    old, url = tmp_path / "old.db", database_url(tmp_path)
    store = await open_sqlite(old)
    odd = thread(metadata={"a\0": "x", "a\ufffd": "x", "b": "\0"})
    await store.add_thread(PROJECT, odd, ())
    await store.close()
    assert (await copy(old, url)).left_out == 1
    contents = await contents_of(url)
    assert [row[1:3] for row in contents["thread_metadata"][1]] == [("a\ufffd", "x"), ("b", "\ufffd")]
    moved = await open_store(url)
    body = await moved.body("thread", PROJECT, None, odd.id)
    assert body is not None
    assert b'"a\\u0000":"x"' in body
    await moved.close()


async def test_a_target_with_rows_of_its_own_is_refused(source: Path, tmp_path: Path) -> None:
    url = database_url(tmp_path)
    async with open_engine("postgres", tmp_path) as store:
        await begun_thread(store)
        await begun_thread(store)
        await store.check()
    refused = await refusal(CopyRefused, copy(source, url))
    assert str(refused) == "The target is not empty: it holds 2 threads. Name an empty database."


async def test_another_sources_unfinished_copy_is_refused(source: Path, tmp_path: Path) -> None:
    target, other = tmp_path / "new.db", tmp_path / "other.db"
    fill(other)
    await refusal(Interrupted, copy(source, target, tell=breaking(3)))
    refused = await refusal(CopyRefused, copy(other, target))
    assert str(refused).startswith(f"The target holds an unfinished copy of {source}: ")
    refused = await refusal(CopyRefused, copy(target, tmp_path / "third.db"))
    assert str(refused) == "The source holds an unfinished copy of another database itself."


async def test_a_source_that_a_server_works_on_is_refused(source: Path, tmp_path: Path) -> None:
    url = database_url(tmp_path)
    await copy(source, url)
    for database in (source, url):
        await execute(database, f"UPDATE runs SET lease_until = {now() + 10} WHERE seq = 3")
        refused = await refusal(CopyRefused, copy(database, tmp_path / "new.db"))
        assert str(refused).startswith("A server works on the source, where it holds 1 runs and files: stop it.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM schema_version WHERE version > 2", "run `understudy db upgrade` on it first"),
        ("INSERT INTO schema_version (version) VALUES (99)", "version 99, which is newer than this program's"),
    ],
)
async def test_a_source_of_another_version_is_refused(source: Path, tmp_path: Path, change: str, words: str) -> None:
    await execute(source, change)
    refused = await refusal(CopyRefused, copy(source, tmp_path / "new.db"))
    assert words in str(refused)


async def test_a_source_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    await refusal(StoreUnavailable, copy(tmp_path / "old.db", tmp_path / "new.db"))
    assert not (tmp_path / "old.db").exists()
