"""What a reader that comes late is shown of the fact log: the facts, and deltas in the place of those long gone.

Pure. The SDKs put a message together from its deltas, so each message and call that is shown from its creation gets
its whole content as one delta. What a lost worker had begun and another began anew was never there.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from understudy.core.chat.deltas import whole_calls_deltas, whole_message_deltas
from understudy.engine.frames import delta_frame, logged_frame
from understudy.ports import DISCARDED, Frame, LoggedFact
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.steps import FunctionCall, FunctionOutcome, RunStep, ToolCalls


class _Named(Struct):
    id: str


class _Discarded(Struct):
    step_id: str
    message_id: str | None


def replay(facts: Sequence[LoggedFact]) -> list[Frame]:
    """The frames of consecutive facts. They must reach to the log's end, or a discard that follows is not seen."""
    gone = _discarded(facts)
    reader = _Replay()
    frames: list[Frame] = []
    for fact in facts:
        if fact.event == DISCARDED or (gone and _id(fact) in gone):
            frames.append(Frame(fact.seq, DISCARDED, b""))  # has its place, and is not shown
        else:
            frames += reader.frames(fact)
    return frames


def _discarded(facts: Sequence[LoggedFact]) -> frozenset[str]:
    found = [msgspec.json.decode(fact.data, type=_Discarded) for fact in facts if fact.event == DISCARDED]
    return frozenset(id_ for one in found for id_ in (one.step_id, one.message_id) if id_ is not None)


def _id(fact: LoggedFact) -> str:
    return msgspec.json.decode(fact.data, type=_Named).id


class _Replay:
    """Remembers what was created and not yet told in full."""

    def __init__(self) -> None:
        self._message: str | None = None
        self._calls: str | None = None

    def frames(self, fact: LoggedFact) -> Iterator[Frame]:
        yield from self._before(fact)
        yield logged_frame(fact)

    def _before(self, fact: LoggedFact) -> Iterator[Frame]:
        match fact.event:
            case "thread.message.created":
                self._message = _id(fact)
            case "thread.message.completed" | "thread.message.incomplete":
                yield from self._message_deltas(msgspec.json.decode(fact.data, type=Message))
            case "thread.run.step.created":
                step = msgspec.json.decode(fact.data, type=RunStep)
                self._calls = step.id if isinstance(step.step_details, ToolCalls) else None
            case "thread.run.requires_action":
                yield from self._call_deltas(_required(msgspec.json.decode(fact.data, type=Run)))
            case event if event.startswith("thread.run.step.") and event != "thread.run.step.in_progress":
                yield from self._call_deltas(_functions(msgspec.json.decode(fact.data, type=RunStep)))

    def _message_deltas(self, message: Message) -> Iterator[Frame]:
        if message.id == self._message:
            yield from map(delta_frame, whole_message_deltas(message))
        self._message = None

    def _call_deltas(self, calls: Sequence[FunctionCall]) -> Iterator[Frame]:
        if self._calls is not None:
            yield from map(delta_frame, whole_calls_deltas(self._calls, calls))
        self._calls = None


def _functions(step: RunStep) -> list[FunctionCall]:
    calls = step.step_details.tool_calls if isinstance(step.step_details, ToolCalls) else []
    return [call for call in calls if isinstance(call, FunctionCall)]


def _required(run: Run) -> list[FunctionCall]:
    if run.required_action is None:
        return []
    return [
        FunctionCall(id=call.id, function=FunctionOutcome(name=call.function.name, arguments=call.function.arguments))
        for call in run.required_action.submit_tool_outputs.tool_calls
    ]
