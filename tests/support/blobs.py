"""Blob stores by hand: the engines that they are tested on, and content that goes in and comes out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.bucket import bucket_of
from understudy.blobs.local import open_local_blobs
from understudy.blobs.s3 import open_s3_blobs
from understudy.ports import Blob, Blobs

__all__ = ["ENGINES", "content", "open_blobs", "put", "stored_paths"]

ENGINES = ("local", "s3")


@asynccontextmanager
async def open_blobs(name: str, directory: Path) -> AsyncIterator[Blobs]:
    """A blob store of this engine. A second one on the same directory finds the same content."""
    blobs: Blobs
    match name:
        case "local":
            blobs = await open_local_blobs(directory)
        case "s3":
            bucket, config = bucket_of(directory)
            blobs = await open_s3_blobs(f"s3://{bucket}/some/prefix", directory / "staging", config)
        case _:
            raise AssertionError(name)
    try:
        yield blobs
    finally:
        await blobs.close()


async def put(blobs: Blobs, *pieces: bytes) -> Blob:
    async with blobs.writer() as writer:
        for piece in pieces:
            await writer.write(piece)
        return await writer.finish()


async def content(blobs: Blobs, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(key)])


def stored_paths(directory: Path) -> list[Path]:
    """The files of a directory of content, half-written ones too; without the one that names it."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != ".place")
