"""`understudy db`, as it is typed."""

import asyncio
import json
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from support.blobs import content, open_blobs, put, stored_paths
from support.bucket import bucket_of
from support.command import run, started
from support.copies import fill
from support.databases import contents_of, execute, named, understudy_db
from support.postgres import database_url
from support.store import ENGINES, PROJECT, begun_thread, open_engine, refusal, stored_file
from support.talk import polled
from understudy.cli.terminal import Stop
from understudy.entropy import now
from understudy.store.migrations import MIGRATIONS, UnfinishedCopy
from understudy.store.opening import open_store
from understudy.store.postgres import upgrade_postgres
from understudy.store.sqlite import open_sqlite, upgrade_sqlite

KNOWN = len(MIGRATIONS)


# --- status


@pytest.mark.parametrize("engine", ENGINES)
async def test_status_says_where_everything_is_and_how_much(engine: str, tmp_path: Path) -> None:
    async with open_engine(engine, tmp_path) as store:
        for _ in range(3):
            await begun_thread(store)
    database = database_url(tmp_path) if engine == "postgres" else tmp_path / "understudy.db"
    told = json.loads(await understudy_db("status", named(database), "--json", "--data-dir", str(tmp_path)))
    place = re.sub("//.*@", "//***@", str(database))
    assert told["database"] == {"engine": "PostgreSQL" if engine == "postgres" else "SQLite", "place": place}
    schema = {"version": KNOWN, "program": KNOWN, "compatible": 0, "upgrade_due": False, "indexes_due": []}
    assert told["schema"] == schema
    assert (told["rows"]["threads"], told["rows"]["chunks"], told["active_runs"]) == (3, 0, 0)
    assert told["files"] == str(tmp_path / "files")
    said = await understudy_db("status", named(database))
    assert re.search(r"^threads +3$", said, re.MULTILINE)
    assert re.search(rf"^Schema +version {KNOWN}, up to date$", said, re.MULTILINE)
    if engine == "sqlite":  # beside the file that was named, and not where the settings' own are
        assert re.search(rf"^Content of files +{re.escape(str(tmp_path / 'files'))}$", said, re.MULTILINE)


async def test_status_changes_nothing_not_even_what_is_due(tmp_path: Path) -> None:
    path = tmp_path / "understudy.db"
    upgrade_sqlite(path, MIGRATIONS[:2])
    before = path.read_bytes()
    said = await understudy_db("status", "--data-dir", str(tmp_path))
    assert f"version 2, and this program's is {KNOWN}: `understudy db upgrade` is due" in said
    assert "chunks" not in said
    assert path.read_bytes() == before
    assert files_in(tmp_path) == ["understudy.db"]


def files_in(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


async def test_status_looks_beside_a_server_that_writes(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "understudy.db")
    await begun_thread(store)
    assert json.loads(await understudy_db("status", "--json", "--data-dir", str(tmp_path)))["rows"]["threads"] == 1
    await begun_thread(store)
    await store.close()


async def test_status_says_of_a_newer_database_whether_this_program_can_use_it(tmp_path: Path) -> None:
    path = tmp_path / "understudy.db"
    upgrade_sqlite(path)
    await execute(path, "INSERT INTO schema_version (version) VALUES (99)")
    assert f"version 99, of a newer program; this one knows {KNOWN} and can work with it" in await understudy_db(
        "status", named(path)
    )
    await execute(path, "INSERT INTO meta (name, value) VALUES ('compatible', 98)")
    assert "cannot work with it" in await understudy_db("status", named(path))


async def test_secrets_are_not_shown(tmp_path: Path) -> None:
    upgrade_sqlite(tmp_path / "understudy.db")
    said = await understudy_db(
        *("status", "--data-dir", str(tmp_path), "--redis-url", "rediss://me:p@ss/word@example.com:1/0?password=hush")
    )
    assert "Redis, rediss://***@example.com:1/0?password=***" in said


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("sqlite:nowhere/u.db", "There is no database nowhere/u.db."),
        ("postgresql://me:hush@127.0.0.1:1/x", "The database cannot be opened: "),
        ("mysql://x", "DATABASE must be sqlite:PATH or a URL that begins with postgresql://."),
    ],
)
async def test_what_cannot_be_reached_is_one_sentence(tmp_path: Path, database: str, words: str) -> None:
    stop = await refusal(Stop, understudy_db("status", database))
    assert str(stop).startswith(words)
    assert "hush" not in str(stop)


# --- upgrade


@pytest.mark.parametrize("engine", ENGINES)
async def test_processes_that_upgrade_at_once_take_each_step_once(engine: str, tmp_path: Path) -> None:
    database = named(database_url(tmp_path) if engine == "postgres" else tmp_path / "data" / "understudy.db")
    ends = await asyncio.gather(*(run("db", "upgrade", database, home=tmp_path) for _ in range(3)))
    assert {(end.code, end.err) for end in ends} == {(0, "")}
    steps = [int(step) for end in ends for step in re.findall(r"^Took step (\d+): ", end.out, re.MULTILINE)]
    assert sorted(steps) == list(range(1, KNOWN + 1))
    assert all(f"schema version {KNOWN}, up to date." in end.out for end in ends)


async def test_what_is_built_meanwhile_is_told_apart_from_what_was_done(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    await upgrade_postgres(url, MIGRATIONS[:4])
    await execute(
        url,
        "INSERT INTO runs (id, thread_id, assistant_id, status, waiting, last_fact, settings, progress, body) "
        "VALUES ('run_1', 'thread_1', 'asst_1', 'completed', 0, 2, '', '', '')",
    )
    end = await run("db", "upgrade", url, home=tmp_path)
    assert end.out.splitlines()[:2] == ["Took step 5: lines.", "Took step 6: copied."]
    assert re.findall(r"(index_\w+) .*(runs_\w+)", end.err) == [
        *((event, "runs_in_line") for event in ("index_begun", "index_built")),
        *((event, "runs_of_upstream") for event in ("index_begun", "index_built")),
    ]


# --- copy


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
async def test_a_copy_that_is_ended_in_the_middle_goes_on_where_it_was(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    source, url = tmp_path / "old" / "understudy.db", database_url(tmp_path)
    fill(source)
    words = ("copy", "--from", f"sqlite:{source.parent}", "--to", url)
    await upgrade_postgres(url)
    beside = await asyncpg.connect(url)
    await beside.execute("BEGIN; LOCK TABLE messages IN EXCLUSIVE MODE")
    async with started("db", *words, home=tmp_path) as process:
        await polled(lambda: waiter(beside), seconds=20)
        process.send_signal(sent)
        assert await asyncio.wait_for(process.wait(), 20) == code
    await beside.close()
    await refusal(UnfinishedCopy, open_store(url))
    said = await understudy_db(*words)
    contents, copied = await contents_of(source), await contents_of(url)
    assert [table for table, rows in contents.items() if copied[table] != rows] == []
    tables = [table for table in contents if table not in ("copied", "schema_version")]
    there = 7 * sum(table < "messages" for table in tables)
    assert said.startswith(f"Went on with a copy that was begun before: {there} rows were there.\n")
    assert f"Copied {7 * len(tables) - there} rows and compared {7 * len(tables)} rows of " in said
    again = await refusal(Stop, understudy_db(*words))
    assert str(again).startswith("The target is not empty: it holds 7 api_keys, ")


async def waiter(beside: asyncpg.Connection) -> bool | None:
    """Somebody waits for a table."""
    held = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'messages'::regclass"
    return bool(await beside.fetch(held)) or None


async def test_content_goes_along_and_what_is_there_already_is_only_compared(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    keys = await with_files(old, b"one", b"two" * 1_000_000, b"three")
    words = ("copy", "--from", f"sqlite:{old}", "--to", f"sqlite:{new}/understudy.db")
    said = await understudy_db(*words, "--files-from", str(old), "--files-to", f"{new}/files")
    assert "Copied the content of 3 files, 0 were there, and compared them (3,000,008 bytes)" in said
    assert "stays where it is" not in said
    async with open_blobs("local", new / "files") as blobs:
        assert [len(await content(blobs, key)) for key in keys] == [3, 3_000_000, 5]
        assert await blobs.place() == "place_of_old"
        for path in stored_paths(new / "files")[:1]:
            path.write_bytes(b"other")
    alone = ("copy", "--to", f"sqlite:{new}", "--files-from", str(old), "--files-to", str(new))
    assert "Copied the content of 1 files, 2 were there" in await understudy_db(*alone)
    for path in stored_paths(old / "files"):
        path.unlink()
    stop = await refusal(Stop, understudy_db(*alone))
    assert str(stop) == f"The content of 3 files is not in {old}: they stay without it."


async def test_content_does_not_go_where_another_installations_is(tmp_path: Path) -> None:
    old, other = tmp_path / "old", tmp_path / "other"
    await with_files(old, b"one")
    await with_files(other, b"two")
    words = ("copy", "--to", f"sqlite:{old}", "--files-from", str(old), "--files-to", str(other))
    stop = await refusal(Stop, understudy_db(*words))
    assert str(stop).startswith("The target is where another database keeps its files:")


async def test_content_goes_into_a_bucket_and_out_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, back = tmp_path / "old", tmp_path / "back"
    keys = await with_files(old, *(str(number).encode() for number in range(20)))
    bucket, config = bucket_of(tmp_path)
    for name in ("access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"AWS_{name.upper()}", config[f"aws_{name}"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", config["aws_endpoint"])
    place = f"s3://{bucket}/prefix"
    rows = ("copy", "--data-dir", str(tmp_path), "--to", f"sqlite:{old}")
    assert "Copied the content of 20 files" in await understudy_db(*rows, "--files-from", str(old), "--files-to", place)
    assert "Copied the content of 20 files" in await understudy_db(
        *rows, "--files-from", place, "--files-to", str(back)
    )
    async with open_blobs("local", back / "files") as blobs:
        assert await blobs.place() == "place_of_old"
        assert [await content(blobs, key) for key in keys] == [str(number).encode() for number in range(20)]


async def with_files(data_dir: Path, *contents: bytes) -> list[str]:
    """An installation with files of these contents; their keys."""
    fill(data_dir / "understudy.db", rows=0)
    store = await open_sqlite(data_dir / "understudy.db")
    keys = []
    async with open_blobs("local", data_dir / "files") as blobs:
        await blobs.name_place(f"place_of_{data_dir.name}")
        for one in contents:
            blob = await put(blobs, one)
            await store.expect_blob(blob.key, until=int(now()) + 60)
            await store.add_file(PROJECT, stored_file(blob.key))
            keys.append(blob.key)
    await store.close()
    return keys


async def test_the_summary_says_what_is_left_to_do(tmp_path: Path) -> None:
    old = tmp_path / "old"
    await with_files(old, b"one")
    with closing(sqlite3.connect(old / "understudy.db")) as connection:
        connection.execute(
            "INSERT INTO runs (id, thread_id, assistant_id, status, waiting, last_fact, settings, progress, body) "
            "VALUES ('run_1', 'thread_1', 'asst_1', 'queued', 0, 2, x'00', x'00', x'00')"
        )
        connection.execute(
            "INSERT INTO api_keys (id, name, hint, digest, project, created_at) VALUES ('k', 'n', 'h', x'01', 'p', 1)"
        )
        connection.commit()
    said = await understudy_db("copy", "--from", f"sqlite:{old}", "--to", f"sqlite:{tmp_path}/new.db")
    assert "The content of 1 files stays where it is." in said
    assert "1 runs have not ended: the first server that works takes them on." in said
    assert "The API keys go on working." in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "There is nothing to copy: name a database with --from, or a place of files with --files-from."),
        (("--from", "old.db"), "--from must be sqlite:PATH or a URL that begins with postgresql://."),
        (("--from", "sqlite:x/u.db", "--to", "sqlite:x/u.db"), "--from and --to are the same database."),
        (("--from", "sqlite:x/u.db", "--to", "sqlite:y.db"), "There is no database x/u.db."),
    ],
)
async def test_a_copy_that_makes_no_sense_is_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    assert str(await refusal(Stop, understudy_db("copy", *words))) == sentence
