"""What every blob store does with content."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.blobs import ENGINES, content, open_blobs, put
from understudy.core.limits import BLOB_PIECE_BYTES
from understudy.ports import Blobs


@pytest.fixture(params=ENGINES)
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    async with open_blobs(request.param, tmp_path / "files") as opened:
        yield opened


@given(pieces=st.lists(st.binary(max_size=40), max_size=5))
@pytest.mark.parametrize("engine", ENGINES)
async def test_content_comes_back_as_it_went_in(
    engine: str, tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    async with open_blobs(engine, tmp_path_factory.mktemp("blobs")) as blobs:
        blob = await put(blobs, *pieces)
        whole = b"".join(pieces)
        assert await content(blobs, blob.key) == whole
        assert (blob.bytes, blob.md5) == (len(whole), hashlib.md5(whole).hexdigest())


@pytest.mark.parametrize("length", [BLOB_PIECE_BYTES - 1, BLOB_PIECE_BYTES, 2 * BLOB_PIECE_BYTES + 1])
async def test_large_content_is_read_in_pieces(blobs: Blobs, length: int) -> None:
    whole = bytes(range(256)) * (length // 256 + 1)
    blob = await put(blobs, whole[:length])
    pieces = [piece async for piece in blobs.read(blob.key)]
    assert b"".join(pieces) == whole[:length]
    assert max(map(len, pieces)) <= BLOB_PIECE_BYTES


async def test_content_may_be_given_another_stores_key(blobs: Blobs) -> None:
    key = "0123456789abcdef" * 2
    for text in (b"first", b"second"):
        async with blobs.writer(key) as writer:
            await writer.write(text)
            assert (await writer.finish()).key == key
        assert await content(blobs, key) == text
    async with blobs.writer(key) as writer:
        await writer.write(b"never finished")
    assert await content(blobs, key) == b"second"
    with pytest.raises(KeyError):
        async with blobs.writer("../../elsewhere"):
            pass


async def test_each_content_has_a_key_of_its_own(blobs: Blobs) -> None:
    first, second = await put(blobs, b"same"), await put(blobs, b"same")
    assert first.key != second.key
    await blobs.delete(first.key)
    assert await content(blobs, second.key) == b"same"


async def test_the_key_is_known_before_the_content_is_whole(blobs: Blobs) -> None:
    async with blobs.writer() as writer:
        await writer.write(b"x")
        key = writer.key
        assert (await writer.finish()).key == key


async def test_nobody_reads_what_is_not_finished(blobs: Blobs) -> None:
    async with blobs.writer() as writer:
        await writer.write(b"x" * (BLOB_PIECE_BYTES + 1))
        with pytest.raises(KeyError):
            await content(blobs, writer.key)


async def test_without_an_end_nothing_stays(blobs: Blobs) -> None:
    async with blobs.writer() as writer:
        await writer.write(b"x" * (BLOB_PIECE_BYTES + 1))
        key = writer.key
    with pytest.raises(KeyError):
        await content(blobs, key)


async def test_of_a_writer_that_fails_nothing_stays(blobs: Blobs) -> None:
    keys: list[str] = []

    async def write() -> None:
        async with blobs.writer() as writer:
            await writer.write(b"x" * BLOB_PIECE_BYTES)
            keys.append(writer.key)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()
    with pytest.raises(KeyError):
        await content(blobs, keys[0])


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_of_a_writer_that_is_cancelled_nothing_stays(blobs: Blobs, turns: int) -> None:
    """Also in the middle of finishing: whoever does not learn that it is finished does not name it."""
    keys: list[str] = []
    told: list[str] = []

    async def write() -> None:
        async with blobs.writer() as writer:
            keys.append(writer.key)
            await writer.write(b"x" * BLOB_PIECE_BYTES)
            told.append((await writer.finish()).key)
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if keys != told:
        with pytest.raises(KeyError):
            await content(blobs, keys[0] if keys else "")


async def test_content_is_a_file_of_this_machine_for_those_who_need_one(blobs: Blobs) -> None:
    blob = await put(blobs, b"pdf")
    async with blobs.local(blob.key) as path:
        assert path.read_bytes() == b"pdf"


async def test_what_is_deleted_is_gone(blobs: Blobs) -> None:
    blob = await put(blobs, b"x")
    await blobs.delete(blob.key)
    await blobs.delete(blob.key)
    with pytest.raises(KeyError):
        await content(blobs, blob.key)
    with pytest.raises(KeyError):
        async with blobs.local(blob.key):
            pass


async def test_a_reader_may_leave_in_the_middle(blobs: Blobs) -> None:
    blob = await put(blobs, b"x" * (2 * BLOB_PIECE_BYTES))
    async with aclosing(blobs.read(blob.key)) as pieces:
        assert len(await anext(pieces)) == BLOB_PIECE_BYTES
    task = asyncio.create_task(content(blobs, blob.key))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert len(await content(blobs, blob.key)) == 2 * BLOB_PIECE_BYTES


@pytest.mark.parametrize("key", ["", "nobody", "../understudy.db", "0" * 32, "/etc/passwd", "a/b", "\0"])
async def test_a_key_that_was_never_given_leads_nowhere(blobs: Blobs, key: str) -> None:
    with pytest.raises(KeyError):
        await content(blobs, key)


async def test_many_write_at_the_same_time(blobs: Blobs) -> None:
    wholes = [bytes([number]) * (BLOB_PIECE_BYTES // 3) for number in range(12)]
    written = await asyncio.gather(*(put(blobs, whole, whole) for whole in wholes))
    assert [await content(blobs, blob.key) for blob in written] == [whole * 2 for whole in wholes]


async def test_a_store_that_works_passes_its_check(blobs: Blobs) -> None:
    await blobs.check()


async def test_another_process_finds_the_same_content(tmp_path: Path) -> None:
    for engine in ENGINES:
        async with open_blobs(engine, tmp_path) as first, open_blobs(engine, tmp_path) as second:
            assert await content(second, (await put(first, b"x")).key) == b"x"


async def test_a_place_has_the_name_that_it_was_given_first(blobs: Blobs) -> None:
    assert await blobs.place() is None
    names = await asyncio.gather(*(blobs.name_place(f"place-{number}") for number in range(8)))
    assert len(set(names)) == 1
    assert await blobs.place() == names[0]
    assert await blobs.name_place("another") == names[0]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_place_keeps_its_name(engine: str, tmp_path: Path) -> None:
    async with open_blobs(engine, tmp_path) as blobs:
        assert await blobs.name_place("place-1") == "place-1"
        await put(blobs, b"content")
    async with open_blobs(engine, tmp_path) as blobs:
        assert await blobs.place() == "place-1"
