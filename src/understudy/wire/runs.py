"""Runs. Fields and limits: contract sections 2.4 and 3.1."""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from understudy.wire.assistants import Instructions
from understudy.wire.base import AssistantId, Body, Metadata, Object, ReasoningEffort, Temperature, TopP
from understudy.wire.messages import CreateMessage
from understudy.wire.threads import CreateThread
from understudy.wire.tools import ResponseFormat, Tool, ToolBodies, ToolChoice, ToolResources, ToolResourcesBody

# The specification says at least 256 for both; smaller limits were seen accepted, and clients send them.
TokenLimit: TypeAlias = Annotated[int, Meta(ge=1)]


class TruncationBody(Body, frozen=True, kw_only=True):
    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Meta(ge=1)] | None = None


class _RunSettings(Body, frozen=True, kw_only=True):
    """What both ways to create a run take."""

    assistant_id: AssistantId
    model: Annotated[str, Meta(min_length=1)] | None = None
    instructions: Instructions | None = None
    tools: ToolBodies | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    truncation_strategy: TruncationBody | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None


class CreateRun(_RunSettings, frozen=True, kw_only=True):
    reasoning_effort: ReasoningEffort | None = None
    additional_instructions: str | None = None
    additional_messages: list[CreateMessage] | None = None


class CreateThreadAndRun(_RunSettings, frozen=True, kw_only=True):
    thread: CreateThread | None = None
    tool_resources: ToolResourcesBody | None = None


class UpdateRun(Body, frozen=True, kw_only=True):
    metadata: Metadata | None = None


class ToolOutput(Body, frozen=True, kw_only=True):
    tool_call_id: str
    # Absent and null both count as the empty string: functions that return nothing are common.
    output: str | None = None


class SubmitToolOutputs(Body, frozen=True, kw_only=True):
    tool_outputs: list[ToolOutput]
    stream: bool | None = None


# --- as answered

RunStatus: TypeAlias = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]
RunErrorCode: TypeAlias = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
RunIncompleteReason: TypeAlias = Literal["max_prompt_tokens", "max_completion_tokens", "content_filter"]


class Truncation(Object, frozen=True, kw_only=True):
    type: Literal["auto", "last_messages"] = "auto"
    last_messages: int | None = None


class CalledFunction(Object, frozen=True, kw_only=True):
    name: str
    arguments: str


class RequiredCall(Object, frozen=True, kw_only=True):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class RequiredCalls(Object, frozen=True, kw_only=True):
    tool_calls: list[RequiredCall]


class RequiredAction(Object, frozen=True, kw_only=True):
    type: Literal["submit_tool_outputs"] = "submit_tool_outputs"
    submit_tool_outputs: RequiredCalls


class RunError(Object, frozen=True, kw_only=True):
    code: RunErrorCode
    message: str


class RunIncompleteDetails(Object, frozen=True, kw_only=True):
    reason: RunIncompleteReason


class Usage(Object, frozen=True, kw_only=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Run(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread.run"] = "thread.run"
    created_at: int
    assistant_id: str
    thread_id: str
    status: RunStatus
    started_at: int | None = None
    expires_at: int | None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    required_action: RequiredAction | None = None
    last_error: RunError | None = None
    model: str
    instructions: str
    tools: list[Tool]
    tool_resources: ToolResources = ToolResources()
    metadata: dict[str, str]
    temperature: float
    top_p: float
    max_completion_tokens: int | None
    max_prompt_tokens: int | None
    truncation_strategy: Truncation
    incomplete_details: RunIncompleteDetails | None = None
    usage: Usage | None = None
    response_format: ResponseFormat
    tool_choice: ToolChoice
    parallel_tool_calls: bool
    reasoning_effort: ReasoningEffort | UnsetType = UNSET
