"""Backups taken as docs/scale-out.md says, while a server writes, and a server that starts from what was restored."""

import asyncio
import contextlib
import re
import shlex
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import obstore
import pytest
from obstore.store import S3Store

from support.bucket import bucket_of
from support.client import Client
from support.files import new_file
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.postgres import shared_postgres
from support.server import KEY, ServerProcess, server_process
from support.talk import WEATHER, Talk, polled

PAGE = (Path(__file__).parents[2] / "docs" / "scale-out.md").read_text("utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.split("## Backup and restore")[1].split("\n## ")[0], re.DOTALL)
FILES_BEFORE = 10


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as made:
        yield made


@asynccontextmanager
async def client_of(server: ServerProcess, key: str = KEY) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(server.url) as session:
        yield Client(session, key)


class Busy:
    """Somebody who makes files and threads all the time, and deletes some."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._names = count()
        self.made: dict[str, bytes] = {}
        self.deleted: set[str] = set()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Both inside and when it is left, more files have been made."""
        working = asyncio.create_task(self._work())
        try:
            await self._until(FILES_BEFORE)
            yield
            await self._until(len(self.made) + 5)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _until(self, number: int) -> None:
        async def look() -> bool | None:
            return True if len(self.made) >= number else None

        await polled(look, seconds=10)

    async def _work(self) -> None:
        for number in self._names:
            content = f"The file with the number {number}. ".encode() * 200
            file = await new_file(self._client, content)
            self.made[file["id"]] = content
            await self._client.post("/v1/threads", {"messages": [{"role": "user", "content": "Hello"}]})
            if number % 3 == 2:
                oldest = next(iter(self.made.keys() - self.deleted))
                self.deleted.add(oldest)
                await self._client.delete(f"/v1/files/{oldest}")


async def listed(client: Client, path: str) -> list[dict[str, Any]]:
    """All of a list, page by page."""
    found: list[dict[str, Any]] = []
    query: dict[str, str] = {}
    while True:
        page = await client.get(path, limit=100, **query)
        found += page["data"]
        if not page["has_more"]:
            return found
        query = {"after": page["last_id"]}


async def assert_whole(client: Client, busy: Busy, before: Sequence[str]) -> None:
    """Each file that is listed has its content, but for such as were deleted while the backup ran."""
    files = [file["id"] for file in await listed(client, "/v1/files")]
    assert set(before) <= {*files, *busy.deleted}
    for file_id in files:
        found = await client.download(f"/v1/files/{file_id}/content")
        assert found.status == 200 or (found.status == 404 and file_id in busy.deleted)
        assert found.status == 404 or found.content == busy.made[file_id]
    assert await listed(client, "/v1/threads")
    new = await new_file(client, b"new")
    assert (await client.download(f"/v1/files/{new['id']}/content")).content == b"new"


class Begun:
    """Two runs that a backup has in the middle: one is being answered, one waits for tool outputs."""

    def __init__(self, answered: Talk, run: dict[str, Any], asked: Talk, waiting: dict[str, Any]) -> None:
        self._talks = (answered, asked)
        self._run = run
        self._waiting = waiting

    @classmethod
    async def of(cls, client: Client, model: ScriptedModel) -> "Begun":
        model.script(Reply("Begun", Silence()), Reply(Call("call_1", "weather", "{}")))
        model.script(Reply("Begun anew."), Reply("It rains."))
        answered = await Talk.begin(client)
        run = await answered.run()
        await answered.until_it_speaks()
        asked = await Talk.begin(client, tools=[WEATHER])
        waiting = await asked.run()
        await asked.until(waiting, "requires_action")
        return cls(answered, run, asked, waiting)

    async def assert_goes_on(self, client: Client) -> None:
        """The first is answered anew, the second takes its outputs."""
        answered, asked = (Talk(client, talk.assistant, talk.thread) for talk in self._talks)
        await answered.until(self._run, "completed")
        assert (await answered.messages())[-1]["content"][0]["text"]["value"] == "Begun anew."
        await asked.submit(self._waiting, call_1="rain")
        await asked.until(self._waiting, "completed")
        assert (await asked.messages())[-1]["content"][0]["text"]["value"] == "It rains."


async def test_one_directory_is_backed_up_while_it_is_written_and_restored_elsewhere(
    model: ScriptedModel, tmp_path: Path
) -> None:
    backup, restore = (block for block in BLOCKS if "VACUUM" in block or "cp -a backup" in block)
    (tmp_path / "data").mkdir()
    with server_process(model.base_url, tmp_path / "data", database_url="", api_key="") as server:
        async with client_of(server) as stranger:
            await stranger.get("/healthz")  # it listens before it has made its key
        key = (tmp_path / "data" / "api-key").read_text("ascii").strip()
        async with client_of(server, key) as client:
            busy = Busy(client)
            begun = await Begun.of(client, model)
            async with busy.at_work():
                before = [*busy.made]
                # cp goes on behind a file that is deleted under it, and says so at its end.
                await asyncio.to_thread(_shell, backup, tmp_path, 0, 1)
        server.kill()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "backup").rename(elsewhere / "backup")
    _shell(restore, elsewhere)
    with sqlite3.connect(elsewhere / "data" / "understudy.db") as rows:
        rows.execute("UPDATE runs SET lease_until = 0 WHERE lease_until IS NOT NULL")  # as if 15 s were over
    rows.close()
    with server_process(model.base_url, elsewhere / "data", database_url="", api_key="") as server:
        async with client_of(server, key) as client:
            await assert_whole(client, busy, before)
            await begun.assert_goes_on(client)


def _shell(lines: str, directory: Path, *statuses: int) -> None:
    ended = subprocess.run(
        ["bash", "-c", lines], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode in (statuses or (0,)), ended.stderr


async def test_a_database_is_dumped_while_it_is_written_and_restored_beside_a_copy_of_the_bucket(
    model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, restore = (_arguments(program) for program in ("pg_dump", "pg_restore"))
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    bucket, access = bucket_of(tmp_path / "old")
    other, _ = bucket_of(tmp_path / "new")
    for name, text in access.items():
        monkeypatch.setenv({"aws_endpoint": "AWS_ENDPOINT_URL"}.get(name, name.upper()), text)
    postgres = shared_postgres()
    for name in ("written", "restored"):
        postgres.execute(f"DROP DATABASE IF EXISTS {name}")
        postgres.execute(f"CREATE DATABASE {name}")
    url, restored = postgres.url("written"), postgres.url("restored")
    file = str(postgres.directory / "understudy.dump")
    settings = {"database_url": url, "files_url": f"s3://{bucket}/files"}
    with server_process(model.base_url, tmp_path / "old", **settings) as server:
        async with client_of(server) as client:
            busy = Busy(client)
            begun = await Begun.of(client, model)
            async with busy.at_work():
                before = [*busy.made]
                await asyncio.to_thread(postgres._run, "pg_dump", *dump(url, file))
                await _copy_bucket(access, bucket, other)
        server.kill()
    postgres._run("pg_restore", *restore(restored, file))
    postgres._run("psql", "--quiet", "-c", "UPDATE runs SET lease_until = 0 WHERE lease_until IS NOT NULL", restored)
    settings = {"database_url": restored, "files_url": f"s3://{other}/files"}
    with server_process(model.base_url, tmp_path / "new", **settings) as server:
        async with client_of(server) as client:
            await assert_whole(client, busy, before)
            await begun.assert_goes_on(client)


def _arguments(program: str) -> Callable[[str, str], list[str]]:
    """What the page gives this program, with the database and the file that the test has."""
    (line,) = [line for block in BLOCKS for line in block.splitlines() if line.startswith(program)]

    def filled(url: str, file: str) -> list[str]:
        words = line.replace("understudy.dump", file).replace("$UNDERSTUDY_DATABASE_URL", url)
        return shlex.split(words, comments=True)[1:]

    return filled


async def _copy_bucket(access: Mapping[str, str], bucket: str, other: str) -> None:
    """What a tool for buckets does, object by object."""
    config: Any = access
    options: Any = {"config": config, "client_options": {"allow_http": True}}
    source, target = (S3Store(name, **options) for name in (bucket, other))
    async for page in obstore.list(source):
        for entry in page:
            with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                content = await obstore.get_async(source, entry["path"])
                await obstore.put_async(target, entry["path"], await content.bytes_async())
