"""Files: their rows, and their content, which lies in a blob store under keys that no client ever sees."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from understudy.core.ids import ProjectId
from understudy.ports.common import PageQuery, Rows, StoreRefusal
from understudy.wire.files import File, StoredPurpose
from understudy.wire.uploads import Upload, UploadPart, UploadStatus

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

    key: str  # what it can be read under, once it is finished

    async def write(self, piece: bytes) -> None:
        """Raises `BlobRefused`."""

    async def finish(self) -> Blob:
        """The content, once it is durable. Raises `BlobRefused`."""


class Blobs(Protocol):
    def writer(self, key: str | None = None) -> AbstractAsyncContextManager[BlobWriter]:
        """Leaving the context without `finish` throws away what was written.

        Under a fresh key, or under one that another blob store gave, in place of what is there.
        """

    def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """The content in bounded pieces. Raises `KeyError` before the first, `BlobRefused`."""

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The content as a file of this machine that may be read, and not changed, inside the context."""

    async def delete(self, key: str) -> None:
        """One that is not there is none to delete. Raises `BlobRefused`."""

    async def place(self) -> str | None:
        """The name of the place that the content lies in, kept there; `None`: it has none yet. Raises `BlobRefused`."""

    async def name_place(self, name: str) -> str:
        """The place's name, which is this one where there was none. Raises `BlobRefused`."""

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
    """`file_seconds` is how long its file will be kept; `None`: until it is deleted."""

    upload: Upload
    mime_type: str
    file_seconds: int | None = None


class StoredPart(Struct, frozen=True, kw_only=True):
    part: UploadPart
    blob: Blob


class BlobExpired(StoreRefusal):
    """Content took too long from being expected to being named by a row: it may be deleted already."""


class UploadEnded(StoreRefusal):
    """The upload is not pending any more."""

    def __init__(self, status: UploadStatus) -> None:
        super().__init__(status)
        self.status: UploadStatus = status


class UploadFull(StoreRefusal):
    """The upload has as many parts, or bytes in them, as it may."""


class FileMaker(Protocol):
    """Files that the server itself makes."""

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


class FileStore(Protocol):
    """Rows of files and uploads.

    A blob is named before it is finished (`expect_blob`), and a row that goes leaves its blob's key behind: so that
    `unused_blobs` finds all content that no row names, whatever died in between.
    """

    async def expect_blob(self, key: str, *, until: int) -> None:
        """Content under this key is unused if no row names it until then."""

    async def add_file(self, project: ProjectId, stored: StoredFile) -> None:
        """Raises `BlobExpired` unless its blob is still expected."""

    async def file(self, project: ProjectId, file_id: str, now: int) -> StoredFile | None:
        """Never one that has expired."""

    async def missing_files(self, project: ProjectId, file_ids: Sequence[str], now: int) -> Sequence[str]:
        """Those of the ids that are no files of the project, in their order."""

    async def files_page(
        self, project: ProjectId, query: PageQuery, *, purpose: StoredPurpose | None, now: int
    ) -> Rows:
        """Raises `Missing` for an unknown cursor."""

    async def delete_file(self, project: ProjectId, file_id: str) -> bool:
        """It also leaves every vector store and every code interpreter's list."""

    async def add_upload(self, project: ProjectId, stored: StoredUpload) -> None: ...

    async def upload(self, project: ProjectId, upload_id: str) -> StoredUpload | None: ...

    async def add_part(self, project: ProjectId, stored: StoredPart, *, parts_max: int, bytes_max: int) -> None:
        """`bytes_max`: of the upload's parts together. Raises `BlobExpired`, `UploadEnded`, `UploadFull`."""

    async def parts(self, upload_id: str) -> Sequence[StoredPart]:
        """In the order in which they arrived."""

    async def end_upload(self, project: ProjectId, upload: Upload, file: StoredFile | None) -> None:
        """Completes a pending upload with its file, whose blob may be that of a part, or cancels it; its parts go.

        Raises `UploadEnded`, `BlobExpired`.
        """

    async def expire_files(self, now: int, *, limit: int) -> int:
        """Deletes files, ends uploads, and forgets ended uploads, whose time is over; how many."""

    async def unused_blobs(self, now: int, *, limit: int) -> Sequence[str]:
        """Keys of content that no row names any more, and none will: it is to be deleted, and then forgotten."""

    async def forget_blobs(self, keys: Sequence[str]) -> None:
        """Their content has been deleted."""
