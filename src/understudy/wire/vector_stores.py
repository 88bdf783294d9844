"""Vector stores, their files, batches and search. Shapes: contract section 6.3."""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from understudy.wire.base import Body, Metadata, Object
from understudy.wire.lists import ListQuery
from understudy.wire.tools import AutoChunking, StaticChunking

STORE_FILES_MAX = 500
BATCH_FILES_MAX = 2000

Scalar: TypeAlias = str | bool | int | float
AttributeValue: TypeAlias = Annotated[str, Meta(max_length=512)] | bool | int | float
Attributes: TypeAlias = Annotated[
    dict[Annotated[str, Meta(max_length=64)], AttributeValue],
    Meta(max_length=16, extra={"words": "an object"}),
]
Chunking: TypeAlias = AutoChunking | StaticChunking


class StoreExpiresAfter(Body, frozen=True, kw_only=True):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class FileCounts(Object, frozen=True, kw_only=True):
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


# --- stores


class CreateVectorStore(Body, frozen=True, kw_only=True):
    name: str | None = None
    description: str | None = None
    file_ids: Annotated[list[str], Meta(max_length=STORE_FILES_MAX)] | None = None
    expires_after: StoreExpiresAfter | None = None
    chunking_strategy: Chunking | None = None
    metadata: Metadata | None = None


class UpdateVectorStore(Body, frozen=True, kw_only=True):
    """`null` for `expires_after` takes the policy away: the vendor's own description makes it nullable for that."""

    name: str | UnsetType | None = UNSET
    expires_after: StoreExpiresAfter | UnsetType | None = UNSET
    metadata: Metadata | None = None


class VectorStore(Object, frozen=True, kw_only=True):
    """`name` is never null: clients' own checks fail on one."""

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str = ""
    description: str | None = None
    usage_bytes: int = 0
    file_counts: FileCounts = FileCounts()
    status: Literal["expired", "in_progress", "completed"] = "completed"
    expires_after: StoreExpiresAfter | None = None
    expires_at: int | None = None
    last_active_at: int | None
    metadata: dict[str, str] = {}


# --- files of a store

FileStatus: TypeAlias = Literal["in_progress", "completed", "cancelled", "failed"]
FileErrorCode: TypeAlias = Literal["server_error", "unsupported_file", "invalid_file"]


class CreateStoreFile(Body, frozen=True, kw_only=True):
    file_id: str
    chunking_strategy: Chunking | None = None
    attributes: Attributes | None = None


class UpdateStoreFile(Body, frozen=True, kw_only=True):
    attributes: Attributes | None


class FileError(Object, frozen=True, kw_only=True):
    code: FileErrorCode
    message: str


class VectorStoreFile(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["vector_store.file"] = "vector_store.file"
    usage_bytes: int = 0
    created_at: int
    vector_store_id: str
    status: FileStatus = "in_progress"
    last_error: FileError | None = None
    chunking_strategy: StaticChunking
    attributes: dict[str, Scalar] = {}


class FileText(Object, frozen=True, kw_only=True):
    type: Literal["text"] = "text"
    text: str


class FileContentPage(Object, frozen=True, kw_only=True):
    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[FileText]
    has_more: bool = False
    next_page: str | None = None


class ListStoreFilesQuery(ListQuery, frozen=True, kw_only=True):
    filter: FileStatus | None = None


# --- batches


class CreateFileBatch(Body, frozen=True, kw_only=True):
    """Exactly one of `file_ids` and `files`; with `files`, each says its own strategy and attributes."""

    file_ids: Annotated[list[str], Meta(min_length=1, max_length=BATCH_FILES_MAX)] | None = None
    files: Annotated[list[CreateStoreFile], Meta(min_length=1, max_length=BATCH_FILES_MAX)] | None = None
    chunking_strategy: Chunking | None = None
    attributes: Attributes | None = None


class VectorStoreFileBatch(Object, frozen=True, kw_only=True):
    """`object` is spelled as the schema's enum has it; the vendor's prose and wire say `file_batch`."""

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "cancelled", "failed"] = "in_progress"
    file_counts: FileCounts = FileCounts()


# --- search


class ComparisonFilter(Body, frozen=True, kw_only=True, tag_field="type"):
    key: str


class Equal(ComparisonFilter, frozen=True, kw_only=True, tag="eq"):
    value: Scalar


class NotEqual(ComparisonFilter, frozen=True, kw_only=True, tag="ne"):
    value: Scalar


class Greater(ComparisonFilter, frozen=True, kw_only=True, tag="gt"):
    value: Scalar


class GreaterOrEqual(ComparisonFilter, frozen=True, kw_only=True, tag="gte"):
    value: Scalar


class Less(ComparisonFilter, frozen=True, kw_only=True, tag="lt"):
    value: Scalar


class LessOrEqual(ComparisonFilter, frozen=True, kw_only=True, tag="lte"):
    value: Scalar


class In(ComparisonFilter, frozen=True, kw_only=True, tag="in"):
    value: list[Scalar]


class NotIn(ComparisonFilter, frozen=True, kw_only=True, tag="nin"):
    value: list[Scalar]


class And(Body, frozen=True, kw_only=True, tag_field="type", tag="and"):
    filters: "list[Filter]"


class Or(Body, frozen=True, kw_only=True, tag_field="type", tag="or"):
    filters: "list[Filter]"


Filter: TypeAlias = Equal | NotEqual | Greater | GreaterOrEqual | Less | LessOrEqual | In | NotIn | And | Or


class SearchRanking(Body, frozen=True, kw_only=True):
    """`ranker` is spelled with dashes here and with underscores in the tool; `none` means no reranking."""

    ranker: Literal["none", "auto", "default-2024-11-15"] | None = None
    score_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None


class SearchVectorStore(Body, frozen=True, kw_only=True):
    query: Annotated[str, Meta(min_length=1)] | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)]
    rewrite_query: bool | None = None
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    filters: Filter | None = None
    ranking_options: SearchRanking | None = None


class SearchResult(Object, frozen=True, kw_only=True):
    file_id: str
    filename: str
    score: float
    attributes: dict[str, Scalar]
    content: list[FileText]


class SearchPage(Object, frozen=True, kw_only=True):
    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: str | None = None
