"""Tools, tool choices, response formats and tool resources: what assistants, threads and runs have in common.

The classes whose names end in `Body` are what clients send; the others are what the server answers, with the
defaults that it fills in.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from understudy.wire.base import Body, JsonObject, Metadata, Object

# `\Z`, because Python's `$` also matches before a last line break, which the pattern as published does not.
FUNCTION_NAME_PATTERN = r"^[a-zA-Z0-9_-]+\Z"
FunctionName: TypeAlias = Annotated[str, Meta(pattern=FUNCTION_NAME_PATTERN, max_length=64)]
TOOLS_MAX = 128
RANKER = "default_2024_08_21"

# --- tools, as sent


class FunctionBody(Body, frozen=True, kw_only=True):
    name: FunctionName
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class RankingOptionsBody(Body, frozen=True, kw_only=True):
    score_threshold: Annotated[float, Meta(ge=0, le=1)]
    ranker: Literal["auto", "default_2024_08_21"] | None = None


class FileSearchOptionsBody(Body, frozen=True, kw_only=True):
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    ranking_options: RankingOptionsBody | None = None


class CodeInterpreterToolBody(Body, frozen=True, kw_only=True, tag_field="type", tag="code_interpreter"):
    pass


class FunctionToolBody(Body, frozen=True, kw_only=True, tag_field="type", tag="function"):
    function: FunctionBody


class FileSearchToolBody(Body, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    file_search: FileSearchOptionsBody | None = None


# The order is the one in which the vendor's refusal names the supported values.
ToolBody: TypeAlias = CodeInterpreterToolBody | FunctionToolBody | FileSearchToolBody
ToolBodies: TypeAlias = Annotated[list[ToolBody], Meta(max_length=TOOLS_MAX)]

# --- tools, as answered


class Function(Object, frozen=True, kw_only=True):
    name: str
    description: str | UnsetType = UNSET
    parameters: JsonObject | UnsetType = UNSET
    strict: bool = False


class RankingOptions(Object, frozen=True, kw_only=True):
    ranker: str = RANKER
    score_threshold: float = 0.0


class FileSearchOptions(Object, frozen=True, kw_only=True):
    max_num_results: int | UnsetType = UNSET
    ranking_options: RankingOptions = RankingOptions()


class CodeInterpreterTool(Object, frozen=True, kw_only=True, tag_field="type", tag="code_interpreter"):
    pass


class FunctionTool(Object, frozen=True, kw_only=True, tag_field="type", tag="function"):
    function: Function


class FileSearchTool(Object, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    file_search: FileSearchOptions = FileSearchOptions()


Tool: TypeAlias = CodeInterpreterTool | FunctionTool | FileSearchTool

# --- tool choice: the same shape both ways


class ChosenFunction(Body, frozen=True, kw_only=True):
    name: str


class ChooseFunction(Body, frozen=True, kw_only=True, tag_field="type", tag="function"):
    function: ChosenFunction


class ChooseFileSearch(Body, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    pass


class ChooseCodeInterpreter(Body, frozen=True, kw_only=True, tag_field="type", tag="code_interpreter"):
    pass


NamedToolChoice: TypeAlias = ChooseFunction | ChooseFileSearch | ChooseCodeInterpreter
ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedToolChoice

# --- response format: the same shape both ways


class JsonSchema(Body, frozen=True, kw_only=True, omit_defaults=True):
    name: FunctionName
    description: str | None = None
    schema: JsonObject | None = None
    strict: bool | None = None


class TextFormat(Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    pass


class JsonObjectFormat(Body, frozen=True, kw_only=True, tag_field="type", tag="json_object"):
    pass


class JsonSchemaFormat(Body, frozen=True, kw_only=True, tag_field="type", tag="json_schema"):
    json_schema: JsonSchema


# `none` is a word of the API's first weeks; it is read as `auto`.
ResponseFormat: TypeAlias = Literal["auto", "none"] | TextFormat | JsonObjectFormat | JsonSchemaFormat

# --- tool resources

FILE_IDS_MAX = 20
FileIds: TypeAlias = Annotated[list[str], Meta(max_length=FILE_IDS_MAX)]
VectorStoreIds: TypeAlias = Annotated[list[str], Meta(max_length=1)]


class CodeInterpreterResourcesBody(Body, frozen=True, kw_only=True):
    file_ids: FileIds | None = None


class FileSearchResourcesBody(Body, frozen=True, kw_only=True):
    vector_store_ids: VectorStoreIds | None = None


class AutoChunking(Body, frozen=True, kw_only=True, tag_field="type", tag="auto"):
    pass


class StaticChunkingOptions(Body, frozen=True, kw_only=True):
    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0, le=2048)]


class StaticChunking(Body, frozen=True, kw_only=True, tag_field="type", tag="static"):
    static: StaticChunkingOptions


class NewVectorStoreBody(Body, frozen=True, kw_only=True):
    file_ids: Annotated[list[str], Meta(max_length=10000)] | None = None
    chunking_strategy: AutoChunking | StaticChunking | None = None
    metadata: Metadata | None = None


class NewFileSearchResourcesBody(Body, frozen=True, kw_only=True):
    """On create only: an existing store's id, or the contents of a store to be made; not both."""

    vector_store_ids: VectorStoreIds | None = None
    vector_stores: Annotated[list[NewVectorStoreBody], Meta(max_length=1)] | None = None


class ToolResourcesBody(Body, frozen=True, kw_only=True):
    code_interpreter: CodeInterpreterResourcesBody | None = None
    file_search: FileSearchResourcesBody | None = None


class NewToolResourcesBody(Body, frozen=True, kw_only=True):
    code_interpreter: CodeInterpreterResourcesBody | None = None
    file_search: NewFileSearchResourcesBody | None = None


class CodeInterpreterResources(Object, frozen=True, kw_only=True):
    file_ids: list[str] = []


class FileSearchResources(Object, frozen=True, kw_only=True):
    vector_store_ids: list[str] = []


class ToolResources(Object, frozen=True, kw_only=True):
    """`{}`, or only the tools in use."""

    code_interpreter: CodeInterpreterResources | UnsetType = UNSET
    file_search: FileSearchResources | UnsetType = UNSET
