"""Files. Shapes: contract section 6.1."""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from understudy.wire.base import Body, Object
from understudy.wire.lists import ListQuery

FILE_NAME_LENGTH_MAX = 255
FilePurpose: TypeAlias = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
StoredPurpose: TypeAlias = Literal[
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "fine-tune",
    "fine-tune-results",
    "vision",
    "user_data",
    "evals",
]


class FileExpiresAfter(Body, frozen=True, kw_only=True):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=2592000)]


class CreateFile(Body, frozen=True, kw_only=True):
    """The fields of the multipart body, apart from `file` itself."""

    purpose: FilePurpose
    expires_after: FileExpiresAfter | None = None


class File(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: StoredPurpose
    status: Literal["uploaded", "processed", "error"] = "processed"
    expires_at: int | UnsetType = UNSET


class ListFilesQuery(ListQuery, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=10000)] = 10000
    purpose: StoredPurpose | None = None
