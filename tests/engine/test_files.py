"""Files between their content and their rows: whatever dies in between, nothing half-made is seen, nothing stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.blobs import stored_paths
from support.store import NOON, OTHER, PROJECT, refusal, thread, with_files
from understudy import entropy
from understudy.blobs.local import LocalBlobs, open_local_blobs
from understudy.core.errors import Conflict, InvalidField
from understudy.core.limits import BLOB_EXPECT_SECONDS, UPLOAD_SECONDS
from understudy.engine.files import Files
from understudy.engine.uploads import Uploads
from understudy.ports import Blob, BlobExpired, BlobRefused, PageQuery, StoredUpload, StoreUnavailable
from understudy.store.sqlite import SqliteStore, open_sqlite
from understudy.wire.files import File
from understudy.wire.uploads import CompleteUpload, Upload

MANY = PageQuery(limit=100, descending=False)


class Desk:
    """A store, a directory of content, and a clock that is set by hand."""

    def __init__(self, store: SqliteStore, blobs: LocalBlobs, directory: Path) -> None:
        self.now = float(NOON)
        self.store = store
        self.blobs = blobs
        self.directory = directory
        self.files = Files(store, blobs, lambda: self.now, entropy.new_id)
        self.uploads = Uploads(store, self.files, lambda: self.now, entropy.new_id, part_bytes_max=100)

    async def put(self, content: bytes = b"Hello", *, seconds: int | None = None) -> File:
        async with self.files.writer() as writer:
            await writer.write(content)
            return await self.files.keep(PROJECT, writer, filename="a", purpose="assistants", seconds=seconds)

    async def finish(self, content: bytes = b"Hello") -> Blob:
        async with self.files.writer() as writer:
            await writer.write(content)
            return await self.files.finish(writer)

    async def listed(self) -> list[str]:
        return list((await self.store.files_page(PROJECT, MANY, purpose=None, now=int(self.now))).ids)

    @property
    def stored(self) -> int:
        return len(stored_paths(self.directory))

    async def begin_upload(self, *parts: bytes) -> tuple[Upload, list[str]]:
        upload = Upload(
            id=entropy.new_id("upload"),
            bytes=sum(map(len, parts)),
            created_at=NOON,
            expires_at=NOON + UPLOAD_SECONDS,
            filename="a",
            purpose="assistants",
        )
        await self.store.add_upload(PROJECT, StoredUpload(upload=upload, mime_type="text/plain"))
        added = []
        for content in parts:
            async with self.files.writer() as writer:
                await writer.write(content)
                added.append((await self.uploads.add_part(PROJECT, upload, writer, len(content))).id)
        return upload, added


@asynccontextmanager
async def open_desk(directory: Path) -> AsyncIterator[Desk]:
    store = await open_sqlite(directory / "understudy.db")
    try:
        yield Desk(store, await open_local_blobs(directory / "files"), directory / "files")
    finally:
        await store.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as opened:
        yield opened


async def test_content_whose_process_died_before_its_row_is_seen_by_nobody_and_swept(desk: Desk) -> None:
    await desk.finish()
    assert await desk.listed() == []
    desk.now += BLOB_EXPECT_SECONDS - 1
    await desk.files.sweep()
    assert desk.stored == 1  # it might still be named
    desk.now += 1
    await desk.files.sweep()
    assert desk.stored == 0


async def test_content_whose_row_comes_after_the_sweep_is_no_file(desk: Desk) -> None:
    blob = await desk.finish()
    desk.now += BLOB_EXPECT_SECONDS
    await desk.store.unused_blobs(int(desk.now), limit=10)
    stored = desk.files.new(blob, filename="a", purpose="assistants", mime_type="", seconds=None)
    await refusal(BlobExpired, desk.store.add_file(PROJECT, stored))
    assert await desk.listed() == []


async def test_of_a_file_whose_row_cannot_be_written_nothing_stays(desk: Desk) -> None:
    async with desk.files.writer() as writer:
        await writer.write(b"Hello")
        await desk.store.close()
        await refusal(StoreUnavailable, desk.files.keep(PROJECT, writer, filename="a", purpose="assistants"))
    assert desk.stored == 0


async def test_a_deleted_file_goes_first_from_sight_and_then_from_the_disk(desk: Desk) -> None:
    file, kept = await desk.put(), await desk.put()
    await desk.store.delete_file(PROJECT, file.id)
    assert (await desk.listed(), desk.stored) == ([kept.id], 2)
    await desk.files.sweep()
    assert (await desk.listed(), desk.stored) == ([kept.id], 1)


async def test_an_expired_file_goes_from_the_lists_and_from_the_disk(desk: Desk) -> None:
    file = await desk.put(seconds=3600)
    talked = thread(tool_resources=with_files(file.id))
    await desk.store.add_thread(PROJECT, talked, ())
    desk.now += 3600
    await desk.files.sweep()
    assert desk.stored == 0
    found = await desk.store.update_thread(PROJECT, talked.id, lambda before: before)
    assert found.tool_resources == with_files()


async def test_content_that_cannot_be_deleted_now_is_deleted_later(desk: Desk) -> None:
    for _ in range(2):
        await desk.store.delete_file(PROJECT, (await desk.put()).id)
    first, _ = stored_paths(desk.directory)
    key = first.name
    first.unlink()
    first.mkdir()  # cannot be unlinked
    await desk.files.sweep()
    assert desk.stored == 0
    assert await desk.store.unused_blobs(NOON, limit=10) == [key]
    first.rmdir()
    await desk.files.sweep()
    assert await desk.store.unused_blobs(NOON, limit=10) == []


async def test_a_file_is_made_of_pieces(desk: Desk) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"Hel"
        yield b"lo"

    file = await desk.files.create(PROJECT, pieces(), filename="plot.png", purpose="assistants_output")
    assert (file.filename, file.purpose, file.bytes) == ("plot.png", "assistants_output", 5)
    stored = await desk.store.file(PROJECT, file.id, NOON)
    assert stored is not None
    assert b"".join([piece async for piece in desk.files.content(stored.blob)]) == b"Hello"


async def test_of_pieces_that_break_off_nothing_stays(desk: Desk) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"Hel"
        raise ZeroDivisionError

    await refusal(ZeroDivisionError, desk.files.create(PROJECT, pieces(), filename="a", purpose="assistants_output"))
    assert (await desk.listed(), desk.stored) == ([], 0)


# --- uploads


async def test_of_an_upload_that_ends_in_any_way_only_its_file_stays(desk: Desk) -> None:
    for parts in ((b"a" * 50,), (b"a" * 50, b"b")):
        upload, part_ids = await desk.begin_upload(*parts)
        await desk.uploads.complete(PROJECT, upload.id, CompleteUpload(part_ids=part_ids))
    await desk.uploads.cancel(PROJECT, (await desk.begin_upload(b"c", b"d"))[0].id)
    late, _ = await desk.begin_upload(b"e")
    await desk.files.sweep()
    assert (len(await desk.listed()), desk.stored) == (2, 3)
    desk.now += UPLOAD_SECONDS
    await desk.files.sweep()
    expired = await desk.store.upload(PROJECT, late.id)
    assert expired is not None
    assert expired.upload.status == "expired"
    assert (len(await desk.listed()), desk.stored) == (2, 2)


async def test_a_part_that_arrives_after_the_end_of_its_upload_does_not_stay(desk: Desk) -> None:
    upload, _ = await desk.begin_upload(b"Hello")
    async with desk.files.writer() as writer:
        await writer.write(b"late")
        await desk.uploads.cancel(PROJECT, upload.id)
        refused = await refusal(Conflict, desk.uploads.add_part(PROJECT, upload, writer, 4))
    assert refused.message == "Cannot add a part to upload with status 'cancelled'."
    await desk.files.sweep()
    assert desk.stored == 0


async def test_of_a_completion_that_is_refused_nothing_stays(desk: Desk) -> None:
    upload, part_ids = await desk.begin_upload(b"a", b"b")
    wrong = CompleteUpload(part_ids=part_ids, md5="0" * 32)
    await refusal(InvalidField, desk.uploads.complete(PROJECT, upload.id, wrong))
    assert desk.stored == 2


async def test_parts_that_vanish_while_they_are_joined_make_no_file(desk: Desk) -> None:
    upload, part_ids = await desk.begin_upload(b"a", b"b")
    for path in stored_paths(desk.directory):
        path.unlink()
    await refusal(BlobRefused, desk.uploads.complete(PROJECT, upload.id, CompleteUpload(part_ids=part_ids)))
    await desk.uploads.cancel(PROJECT, upload.id)
    await desk.files.sweep()
    assert (await desk.listed(), desk.stored) == ([], 0)


async def test_an_upload_that_is_cancelled_while_it_is_completed_is_one_or_the_other(desk: Desk) -> None:
    for number in range(10):
        upload, part_ids = await desk.begin_upload(b"a", b"b")
        completing = asyncio.create_task(desk.uploads.complete(PROJECT, upload.id, CompleteUpload(part_ids=part_ids)))
        for _ in range(number):
            await asyncio.sleep(0)
        cancelled = await asyncio.gather(desk.uploads.cancel(PROJECT, upload.id), return_exceptions=True)
        completed = await asyncio.gather(completing, return_exceptions=True)
        ended = [one for one in (*cancelled, *completed) if isinstance(one, Upload)]
        assert len(ended) == 1
        stored = await desk.store.upload(PROJECT, upload.id)
        assert stored is not None
        assert stored.upload == ended[0]
    assert await desk.store.upload(OTHER, upload.id) is None
