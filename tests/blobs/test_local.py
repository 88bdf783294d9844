"""Content in a directory: what is in it, when, and after a process was killed."""

import asyncio
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.blobs import content, open_blobs, put, stored_paths
from understudy.blobs.local import open_local_blobs
from understudy.core.limits import BLOB_PIECE_BYTES
from understudy.ports import BlobRefused

WRITER = """
import asyncio, sys
from pathlib import Path
from understudy.blobs.local import open_local_blobs
from understudy.core.limits import BLOB_PIECE_BYTES

async def main():
    blobs = await open_local_blobs(Path(sys.argv[1]))
    async with blobs.writer() as writer:
        await writer.write(b"x" * BLOB_PIECE_BYTES)
        print("written", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


@pytest.fixture
def writing_process(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process in the middle of a file."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "files")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        yield process
        process.kill()


async def test_nobody_else_on_the_machine_may_read_it(tmp_path: Path) -> None:
    async with open_blobs("local", tmp_path / "files") as blobs:
        await put(blobs, b"x")
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.joinpath("files").rglob("*"))
    assert tmp_path.joinpath("files").stat().st_mode & 0o077 == 0


async def test_a_writer_that_is_not_finished_leaves_no_file(tmp_path: Path) -> None:
    async with open_blobs("local", tmp_path) as blobs:
        async with blobs.writer() as writer:
            await writer.write(b"x" * BLOB_PIECE_BYTES)
            assert len(stored_paths(tmp_path)) == 1
        assert stored_paths(tmp_path) == []


async def test_content_is_fanned_out(tmp_path: Path) -> None:
    async with open_blobs("local", tmp_path) as blobs:
        blob = await put(blobs, b"x")
        assert stored_paths(tmp_path) == [tmp_path / blob.key[:2] / blob.key]


async def test_what_a_killed_process_left_is_swept_at_the_next_start(
    tmp_path: Path, writing_process: "subprocess.Popen[bytes]"
) -> None:
    writing_process.send_signal(signal.SIGKILL)
    writing_process.wait()
    assert len(stored_paths(tmp_path)) == 1
    await open_local_blobs(tmp_path / "files")
    assert stored_paths(tmp_path) == []


async def test_what_a_living_process_writes_is_left_alone(
    tmp_path: Path, writing_process: "subprocess.Popen[bytes]"
) -> None:
    await open_local_blobs(tmp_path / "files")
    assert len(stored_paths(tmp_path)) == 1


async def test_a_full_disk_refuses_the_content_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    async with open_blobs("local", tmp_path) as blobs:
        kept = await put(blobs, b"before")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (BLOB_PIECE_BYTES, before[1]))
        try:
            with pytest.raises(BlobRefused):
                await put(blobs, b"x" * (2 * BLOB_PIECE_BYTES))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in stored_paths(tmp_path)] == [kept.key]


async def test_a_directory_that_went_away_refuses(tmp_path: Path) -> None:
    async with open_blobs("local", tmp_path / "files") as blobs:
        (tmp_path / "files" / "partial").rmdir()
        with pytest.raises(BlobRefused):
            await blobs.check()


async def test_a_place_that_is_no_directory_refuses(tmp_path: Path) -> None:
    (tmp_path / "files").write_bytes(b"")
    with pytest.raises(BlobRefused):
        await open_local_blobs(tmp_path / "files")


async def test_content_that_is_cut_short_by_its_deletion_was_read_to_its_end(tmp_path: Path) -> None:
    async with open_blobs("local", tmp_path) as blobs:
        blob = await put(blobs, b"x" * (3 * BLOB_PIECE_BYTES))
        pieces = blobs.read(blob.key)
        assert len(await anext(pieces)) == BLOB_PIECE_BYTES
        await blobs.delete(blob.key)
        assert sum([len(piece) async for piece in pieces]) == 2 * BLOB_PIECE_BYTES
        with pytest.raises(KeyError):
            await content(blobs, blob.key)


async def test_processes_that_start_at_once_agree_on_a_places_name(tmp_path: Path) -> None:
    async def start(directory: Path, name: str) -> str:
        return await (await open_local_blobs(directory)).name_place(name)

    for number in range(20):
        directory = tmp_path / str(number)
        named = await asyncio.gather(*(start(directory, name) for name in ("a", "b", "c", "d")))
        assert len(set(named)) == 1
        assert sorted(path.name for path in directory.iterdir()) == [".place", "partial"]
