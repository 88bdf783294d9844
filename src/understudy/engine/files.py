"""Files: their content first, then the row that names it; and at their end the row first, then the content."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager

import structlog

from understudy.core.ids import ProjectId
from understudy.core.limits import BLOB_EXPECT_SECONDS, BLOBS_SWEPT_MAX
from understudy.ports import Blob, BlobExpired, BlobRefused, Blobs, BlobWriter, Clock, FileStore, NewId, StoredFile
from understudy.wire.base import UNSET
from understudy.wire.files import File, StoredPurpose

log = structlog.get_logger()


class Files:
    def __init__(self, store: FileStore, blobs: Blobs, clock: Clock, new_id: NewId) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._new_id = new_id

    def writer(self) -> AbstractAsyncContextManager[BlobWriter]:
        """Content on its way in; `keep` makes it a file."""
        return self._blobs.writer()

    async def keep(
        self,
        project: ProjectId,
        writer: BlobWriter,
        *,
        filename: str,
        purpose: StoredPurpose,
        mime_type: str = "",
        seconds: int | None = None,
    ) -> File:
        """What was written, as a file, which expires after `seconds`. Raises `BlobRefused`."""
        blob = await self.finish(writer)
        stored = self.new(blob, filename=filename, purpose=purpose, mime_type=mime_type, seconds=seconds)
        try:
            await self._store.add_file(project, stored)
        except BlobExpired as error:
            raise BlobRefused("The content took too long to become durable.") from error
        return stored.file

    async def create(
        self,
        project: ProjectId,
        pieces: AsyncIterator[bytes],
        *,
        filename: str,
        purpose: StoredPurpose,
        mime_type: str = "",
    ) -> File:
        """A file of these pieces. Raises `BlobRefused`, and whatever `pieces` raises; then nothing of it stays."""
        async with self.writer() as writer:
            async for piece in pieces:
                await writer.write(piece)
            return await self.keep(project, writer, filename=filename, purpose=purpose, mime_type=mime_type)

    async def finish(self, writer: BlobWriter) -> Blob:
        """The content, which is swept unless a row names it soon. Raises `BlobRefused`."""
        await self._store.expect_blob(writer.key, until=int(self._clock()) + BLOB_EXPECT_SECONDS)
        return await writer.finish()

    async def discard(self, blob: Blob) -> None:
        """Lets go of content that was finished, and that no row was allowed to name."""
        if await self._delete(blob.key):
            await self._store.forget_blobs([blob.key])

    def new(
        self, blob: Blob, *, filename: str, purpose: StoredPurpose, mime_type: str, seconds: int | None
    ) -> StoredFile:
        at = int(self._clock())
        file = File(
            id=self._new_id("file"),
            bytes=blob.bytes,
            created_at=at,
            filename=filename,
            purpose=purpose,
            expires_at=UNSET if seconds is None else at + seconds,
        )
        return StoredFile(file=file, blob=blob.key, mime_type=mime_type)

    def content(self, key: str) -> AsyncGenerator[bytes, None]:
        """In bounded pieces. Raises `KeyError` before the first, `BlobRefused`."""
        return self._blobs.read(key)

    async def check(self) -> None:
        """Raises `BlobRefused` unless content can be written."""
        await self._blobs.check()

    async def sweep(self) -> None:
        """Ends what has expired, and deletes the content that no row names any more."""
        while await self._store.expire_files(int(self._clock()), limit=BLOBS_SWEPT_MAX):
            pass
        while keys := await self._store.unused_blobs(int(self._clock()), limit=BLOBS_SWEPT_MAX):
            deleted = [key for key in keys if await self._delete(key)]
            await self._store.forget_blobs(deleted)
            if len(deleted) < len(keys):
                return  # the same ones would come again: another time

    async def _delete(self, key: str) -> bool:
        try:
            await self._blobs.delete(key)
        except BlobRefused as error:
            log.warning("blob_not_deleted", key=key, reason=str(error))
            return False
        return True
