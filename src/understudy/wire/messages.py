"""Messages and their content. Limits: contract section 2.3."""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from understudy.wire.base import Body, Metadata, Object
from understudy.wire.tools import CodeInterpreterTool

CONTENT_LENGTH_MAX = 256_000
Detail: TypeAlias = Literal["auto", "low", "high"]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=CONTENT_LENGTH_MAX)]

# --- as sent


class TextPartBody(Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    text: Text


class ImageUrlBody(Body, frozen=True, kw_only=True):
    url: str
    detail: Detail | None = None


class ImageUrlPartBody(Body, frozen=True, kw_only=True, tag_field="type", tag="image_url"):
    image_url: ImageUrlBody


class ImageFileBody(Body, frozen=True, kw_only=True):
    file_id: str
    detail: Detail | None = None


class ImageFilePartBody(Body, frozen=True, kw_only=True, tag_field="type", tag="image_file"):
    image_file: ImageFileBody


PartBody: TypeAlias = ImageFilePartBody | ImageUrlPartBody | TextPartBody
ContentBody: TypeAlias = Text | Annotated[list[PartBody], Meta(min_length=1)]


class AttachCodeInterpreter(Body, frozen=True, kw_only=True, tag_field="type", tag="code_interpreter"):
    pass


class AttachFileSearch(Body, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    pass


class AttachmentBody(Body, frozen=True, kw_only=True):
    file_id: str
    tools: list[AttachCodeInterpreter | AttachFileSearch] | None = None


class CreateMessage(Body, frozen=True, kw_only=True):
    role: Literal["user", "assistant"]
    content: ContentBody
    attachments: Annotated[list[AttachmentBody], Meta(max_length=20)] | None = None
    metadata: Metadata | None = None


class UpdateMessage(Body, frozen=True, kw_only=True):
    metadata: Metadata | None = None


# --- as answered


class FileCitationTarget(Object, frozen=True, kw_only=True):
    """All but `file_id` are an addition of ours, behind a setting. `page` counts from 1."""

    file_id: str
    quote: str | UnsetType = UNSET
    page: int | UnsetType = UNSET
    filename: str | UnsetType = UNSET


class FileCitation(Object, frozen=True, kw_only=True, tag_field="type", tag="file_citation"):
    text: str
    start_index: int
    end_index: int
    file_citation: FileCitationTarget


class FilePathTarget(Object, frozen=True, kw_only=True):
    file_id: str


class FilePath(Object, frozen=True, kw_only=True, tag_field="type", tag="file_path"):
    text: str
    start_index: int
    end_index: int
    file_path: FilePathTarget


Annotation: TypeAlias = FileCitation | FilePath


class TextValue(Object, frozen=True, kw_only=True):
    value: str
    annotations: list[Annotation] = []


class TextPart(Object, frozen=True, kw_only=True, tag_field="type", tag="text"):
    text: TextValue


class ImageUrl(Object, frozen=True, kw_only=True):
    url: str
    detail: Detail = "auto"


class ImageUrlPart(Object, frozen=True, kw_only=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl


class ImageFile(Object, frozen=True, kw_only=True):
    file_id: str
    detail: Detail = "auto"


class ImageFilePart(Object, frozen=True, kw_only=True, tag_field="type", tag="image_file"):
    image_file: ImageFile


class RefusalPart(Object, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    refusal: str


Part: TypeAlias = TextPart | ImageUrlPart | ImageFilePart | RefusalPart


class FileSearchTypeOnly(Object, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    pass


class Attachment(Object, frozen=True, kw_only=True):
    file_id: str
    tools: list[CodeInterpreterTool | FileSearchTypeOnly] = []


IncompleteReason: TypeAlias = Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"]


class MessageIncompleteDetails(Object, frozen=True, kw_only=True):
    reason: IncompleteReason


class Message(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread.message"] = "thread.message"
    created_at: int
    thread_id: str
    status: Literal["in_progress", "incomplete", "completed"]
    incomplete_details: MessageIncompleteDetails | None = None
    completed_at: int | None = None
    incomplete_at: int | None = None
    role: Literal["user", "assistant"]
    content: list[Part]
    assistant_id: str | None = None
    run_id: str | None = None
    attachments: list[Attachment] = []
    metadata: dict[str, str] = {}
