"""Run steps. Shapes: contract section 5."""

from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from understudy.wire.base import Object
from understudy.wire.runs import Usage
from understudy.wire.tools import RankingOptions

# --- message creation


class CreatedMessage(Object, frozen=True, kw_only=True):
    message_id: str


class MessageCreation(Object, frozen=True, kw_only=True, tag_field="type", tag="message_creation"):
    message_creation: CreatedMessage


# --- tool calls


class FunctionOutcome(Object, frozen=True, kw_only=True):
    name: str
    arguments: str
    output: str | None = None


class FunctionCall(Object, frozen=True, kw_only=True, tag_field="type", tag="function"):
    id: str
    function: FunctionOutcome


class LogsOutput(Object, frozen=True, kw_only=True, tag_field="type", tag="logs"):
    logs: str


class ImageOutputFile(Object, frozen=True, kw_only=True):
    file_id: str


class ImageOutput(Object, frozen=True, kw_only=True, tag_field="type", tag="image"):
    image: ImageOutputFile


class CodeOutcome(Object, frozen=True, kw_only=True):
    input: str
    outputs: list[LogsOutput | ImageOutput] = []


class CodeInterpreterCall(Object, frozen=True, kw_only=True, tag_field="type", tag="code_interpreter"):
    id: str
    code_interpreter: CodeOutcome


class ResultText(Object, frozen=True, kw_only=True):
    type: Literal["text"] = "text"
    text: str


class FileSearchResult(Object, frozen=True, kw_only=True):
    """`content` is there when a request asks to include it. `quote` and `page` are ours, behind a setting."""

    file_id: str
    file_name: str
    score: float
    content: list[ResultText] | UnsetType = UNSET
    quote: str | UnsetType = UNSET
    page: int | UnsetType = UNSET


class FileSearchOutcome(Object, frozen=True, kw_only=True):
    ranking_options: RankingOptions = RankingOptions()
    results: list[FileSearchResult] = []


class FileSearchCall(Object, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    id: str
    file_search: FileSearchOutcome


ToolCall: TypeAlias = FunctionCall | CodeInterpreterCall | FileSearchCall


class ToolCalls(Object, frozen=True, kw_only=True, tag_field="type", tag="tool_calls"):
    tool_calls: list[ToolCall] = []


StepDetails: TypeAlias = MessageCreation | ToolCalls


StepErrorCode: TypeAlias = Literal["server_error", "rate_limit_exceeded"]


class StepError(Object, frozen=True, kw_only=True):
    code: StepErrorCode
    message: str


class RunStep(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread.run.step"] = "thread.run.step"
    created_at: int
    run_id: str
    assistant_id: str
    thread_id: str
    type: Literal["message_creation", "tool_calls"]
    status: Literal["in_progress", "cancelled", "failed", "completed", "expired"] = "in_progress"
    cancelled_at: int | None = None
    completed_at: int | None = None
    expires_at: int | None
    expired_at: int | None = None
    failed_at: int | None = None
    last_error: StepError | None = None
    step_details: StepDetails
    metadata: dict[str, str] = {}
    usage: Usage | None = None
