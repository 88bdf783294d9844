"""Content from one blob store into another, under the same keys."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

import structlog
from msgspec import Struct

from understudy.core.limits import COPY_FILES_AT_ONCE
from understudy.ports import BlobRefused, Blobs

log = structlog.get_logger()


class ContentCopied(Struct, kw_only=True):
    """What became of it: written, there already and the same, or not in the source. `bytes` are of the former two."""

    copied: int = 0
    found: int = 0
    missing: int = 0
    bytes: int = 0

    @property
    def count(self) -> int:
        return self.copied + self.found


async def copy_content(
    source: Blobs, target: Blobs, keys: AsyncIterator[str], tell: Callable[[int, int], None]
) -> ContentCopied:
    """Copies what the target does not have, or has otherwise. All of it is read once more there, and compared.

    In the end the target has the source's name too, by which the database knows it. `tell` is given how many are done,
    and their bytes. Raises `BlobRefused`.
    """
    name = await source.place()
    if name is not None and await target.place() not in (None, name):
        raise BlobRefused(
            "The target is where another database keeps its files: take another one, or remove .place from it if that "
            "database is gone."
        )
    done = ContentCopied()
    waiting: asyncio.Queue[str | None] = asyncio.Queue(COPY_FILES_AT_ONCE)

    async def work() -> None:
        while (key := await waiting.get()) is not None:
            await _copy_one(source, target, key, done)
            tell(done.count, done.bytes)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(COPY_FILES_AT_ONCE):
                group.create_task(work())
            async for key in keys:
                await waiting.put(key)
            for _ in range(COPY_FILES_AT_ONCE):
                await waiting.put(None)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    if name is not None:
        await target.name_place(name)
    return done


async def _copy_one(source: Blobs, target: Blobs, key: str, done: ContentCopied) -> None:
    there = await _sum(target, key)
    if there is not None and there == await _sum(source, key):
        done.found += 1
        done.bytes += there[1]
        return
    written = hashlib.blake2b()
    length = 0
    try:
        async with target.writer(key) as writer:
            async for piece in source.read(key):
                written.update(piece)
                length += len(piece)
                await writer.write(piece)
            await writer.finish()
    except KeyError:
        done.missing += 1
        log.warning("content_missing", key=key)
        return
    if await _sum(target, key) != (written.hexdigest(), length):
        raise BlobRefused(f"What was written under {key} reads otherwise.")
    done.copied += 1
    done.bytes += length


async def _sum(blobs: Blobs, key: str) -> tuple[str, int] | None:
    """The content's checksum and length; `None`: it is not there."""
    checksum = hashlib.blake2b()
    length = 0
    try:
        async for piece in blobs.read(key):
            checksum.update(piece)
            length += len(piece)
    except KeyError:
        return None
    return checksum.hexdigest(), length
