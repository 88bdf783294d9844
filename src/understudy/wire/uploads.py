"""Uploads: files that arrive in parts. Shapes: contract section 6.2."""

from typing import Annotated, Literal

from msgspec import Meta

from understudy.wire.base import Body, Object
from understudy.wire.files import File, FileExpiresAfter, FilePurpose


class CreateUpload(Body, frozen=True, kw_only=True):
    filename: Annotated[str, Meta(min_length=1)]
    purpose: FilePurpose
    bytes: Annotated[int, Meta(ge=0)]
    mime_type: str
    expires_after: FileExpiresAfter | None = None


class CompleteUpload(Body, frozen=True, kw_only=True):
    """`md5` is of the whole file, in hexadecimal digits."""

    part_ids: list[str]
    md5: str | None = None


class Upload(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: FilePurpose
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"
    file: File | None = None


class UploadPart(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
