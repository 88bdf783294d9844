"""What a reader that comes late is shown of the fact log: the facts, and deltas in the place of those long gone.

Pure. The SDKs put a message together from its deltas, so each message and call that is shown from its creation gets
its whole content as one delta. What a lost worker had begun and another began anew was never there.
"""

from collections.abc import Iterator, Sequence
from typing import Final, get_args

import msgspec
from msgspec import Struct

from understudy.core.chat.deltas import whole_calls_deltas, whole_message_deltas
from understudy.core.run.state import DISCARDED, Discarded
from understudy.engine.frames import delta_frame, logged_frame
from understudy.ports import Frame, LoggedFact
from understudy.wire.events import RESTING, StepEvent
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.steps import FunctionCall, FunctionOutcome, RunStep, ToolCall, ToolCalls
from understudy.wire.tools import FunctionTool

LEFT_OUT: Final = "left out"  # has its place among the frames, and is not shown

_STEP_ENDS: Final = frozenset(get_args(StepEvent)) - {"thread.run.step.created", "thread.run.step.in_progress"}


class _Named(Struct):
    id: str


def replay(facts: Sequence[LoggedFact], open_step: RunStep | None = None) -> list[Frame]:
    """The frames of consecutive facts. They must reach to the log's end, or a discard that follows is not seen.

    `open_step` is the step behind them that is still open: what a run rests with is told of its row's calls.
    What was discarded is left out with its discard. One that concerns more than these facts has its frame: whoever
    reads on from here was shown the beginning of what is gone.
    """
    discards = {fact.seq: msgspec.json.decode(fact.data, type=Discarded) for fact in facts if fact.event == DISCARDED}
    gone = {id_ for discard in discards.values() for id_ in (*discard.step_ids, *discard.message_ids)}
    begun = {_id(fact) for fact in facts if fact.event == "thread.run.step.created"} if discards else set()
    reader = _Replay(facts, open_step)
    frames: list[Frame] = []
    for fact in facts:
        discard = discards.get(fact.seq)
        if discard is not None and not begun.issuperset(discard.step_ids):
            frames.append(logged_frame(fact))
        elif discard is not None or (gone and _id(fact) in gone):
            frames.append(Frame(fact.seq, LEFT_OUT, b""))
        else:
            frames += reader.frames(fact)
    return frames


def settled(facts: Sequence[LoggedFact]) -> Sequence[LoggedFact]:
    """As many of the facts as end with no step open, unless the run rests with it: only then they tell it in full."""
    end, begun = 0, False
    for place, fact in enumerate(facts, 1):
        if fact.event == "thread.run.step.created":
            begun = True
        elif fact.event == DISCARDED or fact.event in _STEP_ENDS:
            begun = False
        if not begun or fact.event in RESTING:
            end = place
    return facts[:end]


def _id(fact: LoggedFact) -> str:
    return msgspec.json.decode(fact.data, type=_Named).id


class _Replay:
    """Remembers what was created and not yet told in full."""

    def __init__(self, facts: Sequence[LoggedFact], open_step: RunStep | None) -> None:
        self._facts = facts
        self._open_step = open_step
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
                yield from self._call_deltas(self._resting_calls(msgspec.json.decode(fact.data, type=Run)))
            case event if event in _STEP_ENDS:
                yield from self._call_deltas(_calls(msgspec.json.decode(fact.data, type=RunStep)))

    def _message_deltas(self, message: Message) -> Iterator[Frame]:
        if message.id == self._message:
            yield from map(delta_frame, whole_message_deltas(message))
        self._message = None

    def _resting_calls(self, run: Run) -> Sequence[ToolCall]:
        """All calls of the step that the run rests with. The run itself names those of functions only."""
        if all(isinstance(tool, FunctionTool) for tool in run.tools):
            return _required(run)
        if self._open_step is not None and self._open_step.id == self._calls:
            return _calls(self._open_step)
        ends = (fact for fact in self._facts if fact.event in _STEP_ENDS and _id(fact) == self._calls)
        return next((_calls(msgspec.json.decode(end.data, type=RunStep)) for end in ends), _required(run))

    def _call_deltas(self, calls: Sequence[ToolCall]) -> Iterator[Frame]:
        if self._calls is not None:
            yield from map(delta_frame, whole_calls_deltas(self._calls, calls))
        self._calls = None


def _calls(step: RunStep) -> Sequence[ToolCall]:
    return step.step_details.tool_calls if isinstance(step.step_details, ToolCalls) else ()


def _required(run: Run) -> Sequence[ToolCall]:
    if run.required_action is None:
        return []
    return [
        FunctionCall(id=call.id, function=FunctionOutcome(name=call.function.name, arguments=call.function.arguments))
        for call in run.required_action.submit_tool_outputs.tool_calls
    ]
