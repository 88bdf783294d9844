"""Chat Completions, as far as a run speaks it: the request that goes to a model server and the chunks that come back.

Requests leave out whatever was not given: strict servers refuse nulls.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from understudy.wire.base import JsonObject

# --- the request


class ChatFunction(Struct, frozen=True, kw_only=True):
    name: str
    description: str | UnsetType = UNSET
    parameters: JsonObject | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class ChatTool(Struct, frozen=True, kw_only=True):
    type: Literal["function"] = "function"
    function: ChatFunction


class ChatCalledFunction(Struct, frozen=True, kw_only=True):
    name: str
    arguments: str


class ChatToolCall(Struct, frozen=True, kw_only=True):
    id: str
    type: Literal["function"] = "function"
    function: ChatCalledFunction


class ChatMessage(Struct, frozen=True, kw_only=True):
    """`content` is a string, or a list of `text` and `image_url` parts for a vision model."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[JsonObject] | UnsetType = UNSET
    tool_calls: list[ChatToolCall] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class StreamOptions(Struct, frozen=True, kw_only=True):
    include_usage: bool = True


class ChatRequest(Struct, frozen=True, kw_only=True):
    model: str
    messages: list[ChatMessage]
    stream: Literal[True] = True
    stream_options: StreamOptions = StreamOptions()
    tools: list[ChatTool] | UnsetType = UNSET
    tool_choice: str | JsonObject | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    response_format: Any | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET


# --- the chunks. Unknown keys are ignored: every server adds some of its own.


class ChunkFunction(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class ChunkToolCall(Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: ChunkFunction | None = None


class ChunkDelta(Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ChunkToolCall] | None = None


class ChunkChoice(Struct, frozen=True):
    delta: ChunkDelta = ChunkDelta()
    finish_reason: str | None = None


class ChunkUsage(Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChunkError(Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class Chunk(Struct, frozen=True):
    choices: list[ChunkChoice] = []
    usage: ChunkUsage | None = None
    error: ChunkError | str | None = None
