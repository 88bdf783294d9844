"""A process whose files lie elsewhere than its database's does not start."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.blobs import ENGINES as PLACES
from support.blobs import content, open_blobs, put
from support.command import run
from support.model_server import ScriptedModel
from support.postgres import database_url
from support.server import running_server
from support.store import ENGINES, open_engine, refusal
from understudy import entropy
from understudy.blobs.local import open_local_blobs
from understudy.engine.place import FilesElsewhere, require_place
from understudy.ports import Blobs, Store

SENTENCE = (
    "The content of this database's files lies elsewhere, not in /here: set files_url to its bucket or share its "
    "directory; if it was moved here, move its file .place along."
)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def require(store: Store, blobs: Blobs) -> None:
    await require_place(store, blobs, entropy.new_id, where="/here")


@pytest.mark.parametrize("kind", PLACES)
async def test_the_first_start_names_the_place_and_later_ones_find_it(store: Store, kind: str, tmp_path: Path) -> None:
    for _ in range(2):
        async with open_blobs(kind, tmp_path / "files") as blobs:
            await require(store, blobs)
            assert await blobs.place() is not None


@pytest.mark.parametrize("kind", PLACES)
async def test_another_place_is_refused_and_left_as_it_is(store: Store, kind: str, tmp_path: Path) -> None:
    async with open_blobs(kind, tmp_path / "files") as mine, open_blobs(kind, tmp_path / "other") as other:
        await require(store, mine)
        assert str(await refusal(FilesElsewhere, require(store, other))) == SENTENCE
        assert await other.place() is None
        await other.name_place("another")
        await refusal(FilesElsewhere, require(store, other))
        await require(store, mine)


async def test_files_that_were_moved_along_with_their_name_are_found(store: Store, tmp_path: Path) -> None:
    before = await open_local_blobs(tmp_path / "before")
    await require(store, before)
    blob = await put(before, b"content")
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    after = await open_local_blobs(tmp_path / "after")
    await require(store, after)
    assert await content(after, blob.key) == b"content"


async def test_a_database_that_knows_of_no_place_takes_the_one_that_has_a_name(store: Store, tmp_path: Path) -> None:
    restored, other = await open_local_blobs(tmp_path / "files"), await open_local_blobs(tmp_path / "other")
    await restored.name_place("place-1")
    await require(store, restored)
    assert await restored.place() == "place-1"
    await refusal(FilesElsewhere, require(store, other))


@pytest.mark.parametrize("engine", ENGINES)
async def test_processes_that_start_together_agree_on_one_place(engine: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        stores = [await opened.enter_async_context(open_engine(engine, tmp_path)) for _ in range(2)]
        places = [await open_local_blobs(tmp_path / name) for name in ("files", "files", "other", "other")]
        starts = (require(stores[at % 2], blobs) for at, blobs in enumerate(places))
        found = await asyncio.gather(*starts, return_exceptions=True)
        refused = [isinstance(error, FilesElsewhere) for error in found]
        assert refused in ([False, False, True, True], [True, True, False, False])


async def test_a_process_with_a_directory_of_its_own_on_a_shared_database_is_refused_at_its_start(
    tmp_path: Path,
) -> None:
    url = database_url(tmp_path)
    async with ScriptedModel() as model, running_server(model, tmp_path / "one", database_url=url):
        ended = await run("worker", "--data-dir", "two", home=tmp_path, UNDERSTUDY_DATABASE_URL=url)
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "understudy: The worker cannot start: " + SENTENCE.replace(
        "/here", "two/files"
    )
