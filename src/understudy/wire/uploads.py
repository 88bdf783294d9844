"""Uploads: files that arrive in parts. Shapes: contract section 6.2."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from understudy.wire.base import Body, Object
from understudy.wire.files import FILE_NAME_LENGTH_MAX, File, FileExpiresAfter, FilePurpose

UploadStatus: TypeAlias = Literal["pending", "completed", "cancelled", "expired"]


class CreateUpload(Body, frozen=True, kw_only=True):
    filename: Annotated[str, Meta(min_length=1, max_length=FILE_NAME_LENGTH_MAX)]
    purpose: FilePurpose
    bytes: Annotated[int, Meta(ge=0)]
    mime_type: str
    expires_after: FileExpiresAfter | None = None


class CompleteUpload(Body, frozen=True, kw_only=True):
    """`md5` is of the whole file, in hexadecimal digits."""

    part_ids: list[str]
    md5: str | None = None


class AddUploadPart(Body, frozen=True, kw_only=True):
    """The fields of the multipart body, apart from `data` itself: there are none."""


class Upload(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: FilePurpose
    status: UploadStatus = "pending"
    file: File | None = None


class UploadPart(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
