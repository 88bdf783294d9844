"""Built-in tools: what a run's worker calls by itself when the model asks for it."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from msgspec import Struct

from understudy.core.chat.offers import BuiltInKind
from understudy.core.ids import ProjectId
from understudy.core.run.state import Note, RunSettings
from understudy.wire.chat import ChatFunction
from understudy.wire.runs import Run, RunErrorCode
from understudy.wire.steps import FunctionCall, ImageOutput, LogsOutput, ToolCall
from understudy.wire.tools import ToolResources


class ToolFailed(Exception):
    """The run cannot go on without what this tool was to do. `message` is safe to show to the client."""

    def __init__(self, message: str, *, code: RunErrorCode = "server_error") -> None:
        super().__init__(message)
        self.message = message
        self.code: RunErrorCode = code


class ToolContext(Struct, frozen=True, kw_only=True):
    """What a call is made for. `turn` numbers the run's turns with calls, and `first_source` this turn's passages.

    The model can be told about `room_tokens`, as `count` counts them, before its window or the run's limit is full.
    """

    project: ProjectId
    run: Run
    settings: RunSettings
    turn: int
    first_source: int
    room_tokens: int
    context_window_tokens: int
    count: Callable[[str], int]


class Outcome(Struct, frozen=True, kw_only=True):
    """A call that was made: as its step shows it, and as the model is told of it."""

    call: ToolCall
    note: Note


Emit: TypeAlias = Callable[[LogsOutput | ImageOutput], None]
"""Shows a call's output while it comes. Logs that follow logs are one output."""


class BuiltIn(Protocol):
    """Its waits may be broken off: the run was cancelled, or its time is over. What it does may be done again."""

    kind: BuiltInKind

    async def function(self, project: ProjectId, run: Run, settings: RunSettings) -> ChatFunction:
        """What the model is shown of it."""

    async def check(self, project: ProjectId, settings: RunSettings, thread_resources: ToolResources) -> None:
        """Raises `errors.ApiError` for a new run that could not use it."""

    async def prepare(self, project: ProjectId, run: Run, settings: RunSettings) -> None:
        """Before a run's first turn; waits until the tool can be used. Raises `ToolFailed`."""

    async def call(self, context: ToolContext, call: FunctionCall, emit: Emit) -> Outcome:
        """Raises `ToolFailed`. Arguments that make no sense are an outcome: the model is told so and may try again."""

    async def take_back(self, project: ProjectId, call: ToolCall, note: Note | None) -> None:
        """The turn will be made again, and nobody will see what this call has come to: what it made goes."""

    async def leave(self, project: ProjectId, thread_id: str) -> None:
        """The thread was deleted: what was kept for it goes. Returns at once; what takes time is done meanwhile."""

    async def close(self) -> None:
        """Returns when nothing of it is under way any more."""
