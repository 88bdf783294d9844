"""Files: their rows, and their content, which lies in a blob store under keys that no client ever sees."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from understudy.core.ids import ProjectId
from understudy.ports.common import PageQuery, Rows
from understudy.wire.files import File, StoredPurpose
from understudy.wire.uploads import Upload, UploadPart

# --- content


class BlobRefused(Exception):
    """The blob store cannot do this now: a full disk, a lost connection. Nothing of it is visible."""


class Blob(Struct, frozen=True, kw_only=True):
    """Content that is whole and durable."""

    key: str
    bytes: int
    md5: str  # of the content, in hexadecimal digits


class BlobWriter(Protocol):
    """Content on its way in. Nobody can read it before `finish`, and without one nothing stays."""

    async def write(self, piece: bytes) -> None:
        """Raises `BlobRefused`."""

    async def finish(self) -> Blob:
        """The content, under a fresh key, once it is durable. Raises `BlobRefused`."""


class Blobs(Protocol):
    def writer(self) -> AbstractAsyncContextManager[BlobWriter]:
        """Leaving the context without `finish` throws away what was written."""

    async def join(self, keys: Sequence[str]) -> Blob:
        """One blob of several, in this order; they stay. Raises `BlobRefused`, `KeyError`."""

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The content in bounded pieces. Raises `KeyError` before the first, `BlobRefused`."""

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The content as a file of this machine that may be read, and not changed, inside the context."""

    async def delete(self, key: str) -> None:
        """One that is not there is none to delete. Raises `BlobRefused`."""

    async def check(self) -> None:
        """Raises `BlobRefused` unless a write works."""

    async def close(self) -> None: ...


# --- rows


class StoredFile(Struct, frozen=True, kw_only=True):
    """`blob` is the key of its content. `mime_type` is what the client called it, if anything."""

    file: File
    blob: str
    mime_type: str = ""


class StoredUpload(Struct, frozen=True, kw_only=True):
    upload: Upload
    mime_type: str


class StoredPart(Struct, frozen=True, kw_only=True):
    part: UploadPart
    blob: Blob


class FileStore(Protocol):
    """Rows of files and uploads. A row that goes leaves its content's key behind, for `unused_blobs`."""

    async def add_file(self, project: ProjectId, stored: StoredFile) -> None: ...

    async def file(self, project: ProjectId, file_id: str) -> StoredFile | None:
        """Never one that has expired."""

    async def missing_files(self, project: ProjectId, file_ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids that are no files of the project, in their order."""

    async def files_page(self, project: ProjectId, query: PageQuery, *, purpose: StoredPurpose | None) -> Rows:
        """Raises `Missing` for an unknown cursor."""

    async def delete_file(self, project: ProjectId, file_id: str) -> bool:
        """It also leaves every vector store and every code interpreter's list."""

    async def add_upload(self, project: ProjectId, stored: StoredUpload) -> None: ...

    async def upload(self, project: ProjectId, upload_id: str) -> StoredUpload | None: ...

    async def add_part(self, project: ProjectId, stored: StoredPart) -> None:
        """Raises `Missing` when the upload is not pending any more."""

    async def parts(self, upload_id: str) -> Sequence[StoredPart]: ...

    async def end_upload(self, project: ProjectId, upload: Upload, file: StoredFile | None) -> bool:
        """Completes a pending upload with its file, or cancels it; its parts go. False: it was not pending any more."""

    async def expire_files(self, now: int, *, limit: int) -> int:
        """Deletes files, and ends uploads, whose time is over; how many."""

    async def unused_blobs(self, *, limit: int) -> Sequence[str]:
        """Keys of content that no row names any more."""

    async def forget_blobs(self, keys: Sequence[str]) -> None:
        """Their content has been deleted."""
