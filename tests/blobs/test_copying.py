"""Content that moves from one place to another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.blobs import ENGINES, content, open_blobs, put
from support.store import refusal
from understudy.blobs.copying import copy_content
from understudy.blobs.local import open_local_blobs
from understudy.ports import BlobRefused


async def each(*keys: str) -> AsyncIterator[str]:
    for key in keys:
        yield key


@pytest.mark.parametrize("kind", ENGINES)
async def test_content_takes_the_name_of_its_place_along(kind: str, tmp_path: Path) -> None:
    source = await open_local_blobs(tmp_path / "source")
    await source.name_place("place-1")
    blob = await put(source, b"content")
    async with open_blobs(kind, tmp_path / "target") as target:
        for _ in range(2):
            await copy_content(source, target, each(blob.key), lambda _done, _bytes: None)
            assert await target.place() == "place-1"
        assert await content(target, blob.key) == b"content"


async def test_a_place_without_a_name_leaves_the_target_without_one(tmp_path: Path) -> None:
    source, target = await open_local_blobs(tmp_path / "source"), await open_local_blobs(tmp_path / "target")
    await copy_content(source, target, each(), lambda _done, _bytes: None)
    assert await target.place() is None


async def test_another_databases_place_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    source, target = await open_local_blobs(tmp_path / "source"), await open_local_blobs(tmp_path / "target")
    await source.name_place("place-1")
    await target.name_place("place-2")
    blob = await put(source, b"content")
    copying = copy_content(source, target, each(blob.key), lambda _done, _bytes: None)
    assert "another database" in str(await refusal(BlobRefused, copying))
    with pytest.raises(KeyError):
        await content(target, blob.key)
