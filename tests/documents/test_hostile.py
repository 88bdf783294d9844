"""What hostile files come to: a sentence, within the limits, and the next file is read as if nothing had been."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.hostile_files import HOSTILE, Hostile
from understudy.documents.reader import ChildDocuments
from understudy.ports import DocumentRefused
from understudy.wire.tools import StaticChunkingOptions

CHUNKING = StaticChunkingOptions(max_chunk_size_tokens=800, chunk_overlap_tokens=400)
SECONDS_MAX = 60


@pytest.fixture(scope="module")
async def documents(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChildDocuments]:
    made = ChildDocuments(places=1, weights=tmp_path_factory.mktemp("none"))
    yield made
    await made.close()


async def outcome(documents: ChildDocuments, path: Path, name: str) -> tuple[str, str]:
    """What became of it, and the text, or why there is none."""
    try:
        read = [
            chunk.text async for chunks in documents.chunks(path, name, "", CHUNKING, embed=False) for chunk in chunks
        ]
    except DocumentRefused as refused:
        return refused.code, refused.message
    return "read", "".join(read)


@contextmanager
def written(hostile: Hostile, directory: Path) -> Iterator[Path]:
    path = directory / "content"
    path.write_bytes(hostile.content())
    yield path
    path.unlink()
    assert not list(directory.iterdir())


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
async def test_a_hostile_file_ends_as_it_should(name: str, documents: ChildDocuments, tmp_path: Path) -> None:
    hostile = HOSTILE[name]
    with written(hostile, tmp_path) as path:
        began = time.monotonic()
        became, said = await outcome(documents, path, hostile.name)
        assert time.monotonic() - began < SECONDS_MAX
        assert became == hostile.outcome, said[:500]
        assert hostile.word in said
        if became != "read":
            assert said.startswith("The file could not be parsed")
            assert said.endswith(".")
