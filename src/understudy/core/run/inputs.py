"""What can happen to a run. Each input carries its moment and the fresh ids it may need, so that the core stays pure.

`at` is in whole Unix seconds.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from understudy.wire.messages import Part
from understudy.wire.runs import RunErrorCode, ToolOutput, Usage
from understudy.wire.steps import ToolCall


class Create(Struct, frozen=True, kw_only=True):
    """The run was written, queued."""

    at: int


class Claim(Struct, frozen=True, kw_only=True):
    """A worker begins, or goes on after tool outputs."""

    at: int


class ModelText(Struct, frozen=True, kw_only=True):
    """The first piece of a message (text or refusal) has arrived."""

    at: int
    step_id: str
    message_id: str


class ModelCalls(Struct, frozen=True, kw_only=True):
    """The first piece of a tool call has arrived. `content` closes the message that this turn began with, if any."""

    at: int
    step_id: str
    content: tuple[Part, ...] = ()


class ModelStopped(Struct, frozen=True, kw_only=True):
    """A model turn ended well: with text, or with calls. Those of built-in tools are the worker's to make now."""

    at: int
    content: tuple[Part, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()


class ModelTruncated(Struct, frozen=True, kw_only=True):
    """A model turn was cut off by a limit, or could not begin because the prompt's budget is spent."""

    at: int
    reason: Literal["max_prompt_tokens", "max_completion_tokens", "content_filter"]
    content: tuple[Part, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()


class ModelFailed(Struct, frozen=True, kw_only=True):
    """The model server failed, or what it sent cannot be used."""

    at: int
    code: RunErrorCode
    message: str
    content: tuple[Part, ...] = ()
    calls: tuple[ToolCall, ...] = ()


class ToolsFinished(Struct, frozen=True, kw_only=True):
    """The calls of built-in tools were made. `calls` is all of the turn's, those of functions still without output."""

    at: int
    calls: tuple[ToolCall, ...]


class ToolOutputs(Struct, frozen=True, kw_only=True):
    at: int
    outputs: tuple[ToolOutput, ...]


class Cancel(Struct, frozen=True, kw_only=True):
    """A client asks for the end. A run that nobody works on ends at once."""

    at: int


class Stopped(Struct, frozen=True, kw_only=True):
    """The worker of a run that is being cancelled has let go of it; what it had so far is kept."""

    at: int
    content: tuple[Part, ...] = ()
    calls: tuple[ToolCall, ...] = ()


class Expire(Struct, frozen=True, kw_only=True):
    at: int
    content: tuple[Part, ...] = ()
    calls: tuple[ToolCall, ...] = ()


class WorkerLost(Struct, frozen=True, kw_only=True):
    """The lease ran out: another worker takes the run over, and the turn begins again."""

    at: int


Input: TypeAlias = (
    Create
    | Claim
    | ModelText
    | ModelCalls
    | ModelStopped
    | ModelTruncated
    | ModelFailed
    | ToolsFinished
    | ToolOutputs
    | Cancel
    | Stopped
    | Expire
    | WorkerLost
)
