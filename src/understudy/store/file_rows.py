"""`ports.FileStore` on any engine that can run operations."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from understudy.core.ids import ProjectId
from understudy.ports import FileStore, PageQuery, Rows, StoredFile, StoredPart, StoredUpload
from understudy.store import blob_keys, files, pages, uploads
from understudy.store.operations import Op
from understudy.wire.files import StoredPurpose
from understudy.wire.uploads import Upload

T = TypeVar("T")


class FileRows(FileStore, Protocol):
    """The part of a store that is about files, without its engine."""

    async def _read(self, operation: Op[T]) -> T: ...

    async def _write(self, operation: Callable[[], Op[T]]) -> T: ...

    async def expect_blob(self, key: str, *, until: int) -> None:
        await self._write(partial(blob_keys.expect_blob, key, until))

    async def add_file(self, project: ProjectId, stored: StoredFile) -> None:
        await self._write(partial(files.add_file, project, stored))

    async def file(self, project: ProjectId, file_id: str, now: int) -> StoredFile | None:
        return await self._read(files.file(project, file_id, now))

    async def missing_files(self, project: ProjectId, file_ids: Sequence[str], now: int) -> Sequence[str]:
        return await self._read(files.missing_files(project, file_ids, now))

    async def files_page(
        self, project: ProjectId, query: PageQuery, *, purpose: StoredPurpose | None, now: int
    ) -> Rows:
        return await self._read(pages.files(project, query, purpose, now))

    async def delete_file(self, project: ProjectId, file_id: str) -> bool:
        return await self._write(partial(files.delete_file, project, file_id))

    async def add_upload(self, project: ProjectId, stored: StoredUpload) -> None:
        await self._write(partial(uploads.add_upload, project, stored))

    async def upload(self, project: ProjectId, upload_id: str) -> StoredUpload | None:
        return await self._read(uploads.upload(project, upload_id))

    async def add_part(self, project: ProjectId, stored: StoredPart, *, parts_max: int, bytes_max: int) -> None:
        await self._write(partial(uploads.add_part, project, stored, parts_max, bytes_max))

    async def parts(self, upload_id: str) -> Sequence[StoredPart]:
        return await self._read(uploads.parts(upload_id))

    async def end_upload(self, project: ProjectId, upload: Upload, file: StoredFile | None) -> None:
        await self._write(partial(uploads.end_upload, project, upload, file))

    async def expire_files(self, now: int, *, limit: int) -> int:
        files_ = await self._write(partial(files.expire_files, now, limit))
        return files_ + await self._write(partial(uploads.expire_uploads, now, limit))

    async def unused_blobs(self, now: int, *, limit: int) -> Sequence[str]:
        return await self._write(partial(blob_keys.unused_blobs, now, limit))

    async def forget_blobs(self, keys: Sequence[str]) -> None:
        await self._write(partial(blob_keys.forget_blobs, keys))
