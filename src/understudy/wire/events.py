"""SSE event name -> what its `data` is, in one table."""

from typing import Final, Literal, TypeAlias, get_args

from understudy.wire.base import Object
from understudy.wire.deltas import MessageDelta, RunStepDelta
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.steps import RunStep
from understudy.wire.threads import Thread

RunEvent: TypeAlias = Literal[
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.requires_action",
    "thread.run.completed",
    "thread.run.incomplete",
    "thread.run.failed",
    "thread.run.cancelling",
    "thread.run.cancelled",
    "thread.run.expired",
]
StepEvent: TypeAlias = Literal[
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.run.step.completed",
    "thread.run.step.failed",
    "thread.run.step.cancelled",
    "thread.run.step.expired",
]
MessageEvent: TypeAlias = Literal[
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.completed",
    "thread.message.incomplete",
]
DeltaEvent: TypeAlias = Literal["thread.run.step.delta", "thread.message.delta"]
StreamEvent: TypeAlias = Literal["thread.created"] | RunEvent | StepEvent | MessageEvent | DeltaEvent

PAYLOADS: Final[dict[str, type[Object]]] = {
    "thread.created": Thread,
    **dict.fromkeys(get_args(RunEvent), Run),
    **dict.fromkeys(get_args(StepEvent), RunStep),
    **dict.fromkeys(get_args(MessageEvent), Message),
    "thread.run.step.delta": RunStepDelta,
    "thread.message.delta": MessageDelta,
}

# A stream ends behind one of these: the run has ended, or it waits for its caller.
RESTING: Final[frozenset[str]] = frozenset(
    {
        "thread.run.requires_action",
        "thread.run.completed",
        "thread.run.incomplete",
        "thread.run.failed",
        "thread.run.cancelled",
        "thread.run.expired",
    }
)
