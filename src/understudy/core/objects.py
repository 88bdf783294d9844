"""Requests -> objects as they are first written, and objects -> objects as an update leaves them.

What a caller leaves out is shown with the API's default. `null` counts as left out.
"""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from understudy.wire.assistants import Assistant, CreateAssistant, UpdateAssistant
from understudy.wire.messages import (
    AttachCodeInterpreter,
    Attachment,
    AttachmentBody,
    CreateMessage,
    FileSearchTypeOnly,
    ImageFile,
    ImageFilePart,
    ImageFilePartBody,
    ImageUrl,
    ImageUrlPart,
    ImageUrlPartBody,
    Message,
    Part,
    PartBody,
    TextPart,
    TextPartBody,
    TextValue,
)
from understudy.wire.threads import CreateThread, Thread, UpdateThread
from understudy.wire.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    CodeInterpreterToolBody,
    FileSearchOptions,
    FileSearchOptionsBody,
    FileSearchResources,
    FileSearchTool,
    FileSearchToolBody,
    Function,
    FunctionTool,
    FunctionToolBody,
    NewToolResourcesBody,
    RankingOptions,
    ResponseFormat,
    Tool,
    ToolBody,
    ToolResources,
    ToolResourcesBody,
)

_T = TypeVar("_T")


def given(*values: _T | None, otherwise: _T) -> _T:
    """The first value that somebody gave."""
    return next((value for value in values if value is not None), otherwise)


def _or_unset(value: _T | None) -> _T | UnsetType:
    return UNSET if value is None else value


# --- tools


def tool(body: ToolBody) -> Tool:
    match body:
        case CodeInterpreterToolBody():
            return CodeInterpreterTool()
        case FileSearchToolBody(file_search=options):
            return FileSearchTool(file_search=_search_options(options))
        case FunctionToolBody(function=function):
            return FunctionTool(
                function=Function(
                    name=function.name,
                    description=_or_unset(function.description),
                    parameters=_or_unset(function.parameters),
                    strict=bool(function.strict),
                )
            )


def tools(bodies: Sequence[ToolBody] | None) -> list[Tool]:
    return [tool(body) for body in bodies or ()]


def _search_options(body: FileSearchOptionsBody | None) -> FileSearchOptions:
    if body is None:
        return FileSearchOptions()
    ranking = RankingOptions()
    if body.ranking_options is not None:
        # There is one ranker, so `auto` means it.
        ranking = RankingOptions(score_threshold=body.ranking_options.score_threshold)
    return FileSearchOptions(max_num_results=_or_unset(body.max_num_results), ranking_options=ranking)


def response_format(*bodies: ResponseFormat | None) -> ResponseFormat:
    """`none` is an early spelling of `auto`."""
    chosen: ResponseFormat = next((body for body in bodies if body is not None), "auto")
    return "auto" if chosen == "none" else chosen


def tool_resources(
    body: ToolResourcesBody | NewToolResourcesBody | None,
    *,
    before: ToolResources | None = None,
    enabled: Sequence[Tool] = (),
) -> ToolResources:
    """The resources that are shown: what is sent replaces `before` tool by tool.

    An enabled code interpreter always shows its list of files, even an empty one (seen on the wire).
    """
    code: CodeInterpreterResources | UnsetType = UNSET if before is None else before.code_interpreter
    search: FileSearchResources | UnsetType = UNSET if before is None else before.file_search
    if body is not None and body.code_interpreter is not None:
        code = CodeInterpreterResources(file_ids=body.code_interpreter.file_ids or [])
    if body is not None and body.file_search is not None:
        search = FileSearchResources(vector_store_ids=body.file_search.vector_store_ids or [])
    if code is UNSET and any(isinstance(one, CodeInterpreterTool) for one in enabled):
        code = CodeInterpreterResources()
    return ToolResources(code_interpreter=code, file_search=search)


# --- assistants


def new_assistant(body: CreateAssistant, *, assistant_id: str, at: int) -> Assistant:
    enabled = tools(body.tools)
    return Assistant(
        id=assistant_id,
        created_at=at,
        name=body.name,
        description=body.description,
        model=body.model,
        instructions=body.instructions,
        tools=enabled,
        tool_resources=tool_resources(body.tool_resources, enabled=enabled),
        metadata=body.metadata or {},
        temperature=given(body.temperature, otherwise=1.0),
        top_p=given(body.top_p, otherwise=1.0),
        response_format=response_format(body.response_format),
        reasoning_effort=_or_unset(body.reasoning_effort),
    )


def changed_assistant(before: Assistant, body: UpdateAssistant) -> Assistant:
    enabled = before.tools if body.tools is None else tools(body.tools)
    return replace(
        before,
        name=given(body.name, otherwise=before.name),
        description=given(body.description, otherwise=before.description),
        model=given(body.model, otherwise=before.model),
        instructions=given(body.instructions, otherwise=before.instructions),
        tools=enabled,
        tool_resources=tool_resources(body.tool_resources, before=before.tool_resources, enabled=enabled),
        metadata=given(body.metadata, otherwise=before.metadata),
        temperature=given(body.temperature, otherwise=before.temperature),
        top_p=given(body.top_p, otherwise=before.top_p),
        response_format=response_format(body.response_format, before.response_format),
        reasoning_effort=given(body.reasoning_effort, otherwise=before.reasoning_effort),
    )


# --- threads


def new_thread(
    body: CreateThread, *, thread_id: str, at: int, run_resources: ToolResourcesBody | None = None
) -> Thread:
    """`run_resources` are those of a `threads/runs` request: they go to the thread that it creates."""
    resources = tool_resources(run_resources, before=tool_resources(body.tool_resources))
    return Thread(id=thread_id, created_at=at, tool_resources=resources, metadata=body.metadata or {})


def changed_thread(before: Thread, body: UpdateThread) -> Thread:
    return replace(
        before,
        tool_resources=tool_resources(body.tool_resources, before=before.tool_resources),
        metadata=given(body.metadata, otherwise=before.metadata),
    )


# --- messages


def new_message(body: CreateMessage, *, message_id: str, thread_id: str, at: int) -> Message:
    """A message made by hand: complete at once, and of no run."""
    parts: list[Part] = (
        [TextPart(text=TextValue(value=body.content))]
        if isinstance(body.content, str)
        else [_part(part) for part in body.content]
    )
    return Message(
        id=message_id,
        created_at=at,
        thread_id=thread_id,
        status="completed",
        completed_at=at,
        role=body.role,
        content=parts,
        attachments=[_attachment(one) for one in body.attachments or ()],
        metadata=body.metadata or {},
    )


def _part(body: PartBody) -> Part:
    match body:
        case TextPartBody(text=text):
            return TextPart(text=TextValue(value=text))
        case ImageUrlPartBody(image_url=image):
            return ImageUrlPart(image_url=ImageUrl(url=image.url, detail=image.detail or "auto"))
        case ImageFilePartBody(image_file=image):
            return ImageFilePart(image_file=ImageFile(file_id=image.file_id, detail=image.detail or "auto"))


def _attachment(body: AttachmentBody) -> Attachment:
    return Attachment(
        file_id=body.file_id,
        tools=[
            CodeInterpreterTool() if isinstance(one, AttachCodeInterpreter) else FileSearchTypeOnly()
            for one in body.tools or ()
        ],
    )
