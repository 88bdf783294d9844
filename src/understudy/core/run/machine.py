"""What may happen to a run, and what follows: `decide(state, input)` gives facts, `evolve(state, fact)` applies one.

The table at the end is the whole of it. A pair that is not in the table is refused: a client's wish with the API's
own error, anything else with `Superseded`, which tells a worker that the run has moved on without it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

from understudy.core import errors
from understudy.core.run.inputs import (
    Cancel,
    Claim,
    Create,
    Expire,
    Input,
    ModelCalls,
    ModelFailed,
    ModelStopped,
    ModelText,
    ModelTruncated,
    Stopped,
    ToolOutputs,
    ToolsFinished,
    WorkerLost,
)
from understudy.core.run.state import Discarded, Fact, MessageFact, RunFact, RunState, Said, StepFact
from understudy.wire.events import MessageEvent, RunEvent, StepEvent
from understudy.wire.messages import IncompleteReason, Message, MessageIncompleteDetails, Part
from understudy.wire.runs import (
    CalledFunction,
    RequiredAction,
    RequiredCall,
    RequiredCalls,
    RunError,
    RunIncompleteDetails,
    RunStatus,
    Usage,
)
from understudy.wire.steps import (
    CreatedMessage,
    FunctionCall,
    MessageCreation,
    RunStep,
    StepError,
    StepErrorCode,
    ToolCall,
    ToolCalls,
)

ACTIVE: Final[frozenset[RunStatus]] = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
RESTS: Final[frozenset[RunStatus]] = frozenset(
    {"requires_action", "completed", "failed", "incomplete", "expired", "cancelled"}
)
TERMINAL: Final[frozenset[RunStatus]] = frozenset({"completed", "failed", "incomplete", "expired", "cancelled"})


class Superseded(Exception):
    """The run is no longer where this input assumes it: somebody else ended it, or took it over."""


class Decision(Struct, frozen=True):
    """What happened, in order, and where that leaves the run."""

    facts: Sequence[Fact]
    after: RunState


def decide(state: RunState, happened: Input) -> Decision:
    """The facts that follow from `happened`, and the state behind them.

    Raises `errors.Conflict` for a client's wish that the state forbids, `Superseded` for any other input.
    """
    rule = TABLE.get((state.run.status, type(happened)))
    if rule is None:
        raise _refusal(state.run.status, happened)
    course = _Course(state)
    rule(course, happened)
    return Decision(tuple(course.facts), course.state)


def evolve(state: RunState, fact: Fact) -> RunState:
    """The state behind one fact. A step or message that has ended is no longer part of it."""
    match fact:
        case RunFact(run=run):
            return replace(state, run=run)
        case StepFact(step=step):
            return replace(state, step=step if step.status == "in_progress" else None)
        case MessageFact(message=message):
            return replace(state, message=message if message.status == "in_progress" else None)
        case Discarded():
            return replace(state, step=None, message=None)


def _refusal(status: RunStatus, happened: Input) -> Exception:
    match happened:
        case Cancel():
            return errors.cannot_cancel(status)
        case ToolOutputs():
            return errors.outputs_refused(status)
        case _:
            return Superseded(f"{type(happened).__name__} in {status}")


class _Course:
    """A state on its way, and the facts collected so far."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.facts: list[Fact] = []

    def add(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.state = evolve(self.state, fact)

    def run(self, event: RunEvent, **changes: Any) -> None:
        run = self.state.run
        self.add(RunFact(event, replace(run, **changes) if changes else run))

    def step(self, event: StepEvent, **changes: Any) -> None:
        assert self.state.step is not None
        self.add(StepFact(event, replace(self.state.step, **changes)))

    def message(self, event: MessageEvent, **changes: Any) -> None:
        """Of the open message. One that a client has deleted is told of to its end too: readers saw it begin."""
        message = self.state.open_message
        assert message is not None
        self.add(MessageFact(event, replace(message, **changes) if changes else message))

    def remember(self, **changes: Any) -> None:
        """Changes what no client is shown."""
        self.state = replace(self.state, progress=replace(self.state.progress, **changes))

    @property
    def tools_run(self) -> bool:
        """Whether the model has made its calls, and built-in tools among them are at work."""
        return self.state.progress.step_usage is not None

    def keep_calls(self, calls: Sequence[ToolCall]) -> None:
        """Stores the calls of the open step; clients have seen them as deltas, so there is no event."""
        step = self.state.step
        assert step is not None
        assert isinstance(step.step_details, ToolCalls)
        self.state = replace(self.state, step=replace(step, step_details=ToolCalls(tool_calls=[*calls])))

    def spend(self, usage: Usage) -> Usage:
        """Ends a model turn and adds its usage; the new sum."""
        assert not self.tools_run
        total = _sum(self.state.progress.usage, usage)
        self.remember(usage=total, turns=self.state.progress.turns + 1)
        return total

    def open_step(self, at: int, step_id: str, details: MessageCreation | ToolCalls) -> None:
        run = self.state.run
        step = RunStep(
            id=step_id,
            created_at=at,
            run_id=run.id,
            assistant_id=run.assistant_id,
            thread_id=run.thread_id,
            type="message_creation" if isinstance(details, MessageCreation) else "tool_calls",
            expires_at=run.expires_at,
            step_details=details,
        )
        self.add(StepFact("thread.run.step.created", step))
        self.add(StepFact("thread.run.step.in_progress", step))

    def break_off(
        self,
        at: int,
        reason: IncompleteReason,
        content: Sequence[Part],
        calls: Sequence[ToolCall],
    ) -> None:
        """Ends the open message as incomplete and keeps what the open step has so far."""
        if self.state.open_message is not None:
            self.message(
                "thread.message.incomplete",
                status="incomplete",
                incomplete_at=at,
                incomplete_details=MessageIncompleteDetails(reason=reason),
                content=[*content],
            )
        elif calls and self.state.step is not None:
            self.keep_calls(calls)


def _sum(a: Usage, b: Usage, sign: Literal[1, -1] = 1) -> Usage:
    return Usage(
        prompt_tokens=a.prompt_tokens + sign * b.prompt_tokens,
        completion_tokens=a.completion_tokens + sign * b.completion_tokens,
        total_tokens=a.total_tokens + sign * b.total_tokens,
    )


# --- the rules


def _create(course: _Course, happened: Create) -> None:
    assert happened.at == course.state.run.created_at
    course.run("thread.run.created")
    course.run("thread.run.queued")


def _claim(course: _Course, happened: Claim) -> None:
    course.run("thread.run.in_progress", status="in_progress", started_at=happened.at)


def _text(course: _Course, happened: ModelText) -> None:
    assert course.state.step is None
    course.open_step(
        happened.at,
        happened.step_id,
        MessageCreation(message_creation=CreatedMessage(message_id=happened.message_id)),
    )
    course.message("thread.message.created")
    course.message("thread.message.in_progress")


def _calls(course: _Course, happened: ModelCalls) -> None:
    step, message = course.state.step, course.state.open_message
    if step is not None and message is not None:
        # The usage of this turn is not known yet: it goes to the tool_calls step, and this step counts for nothing.
        _complete_message(course, happened.at, happened.content, Usage())
        course.remember(said=Said(step_id=step.id, message_id=message.id))
    assert course.state.step is None
    course.open_step(happened.at, happened.step_id, ToolCalls())


def _complete_message(course: _Course, at: int, content: Sequence[Part], usage: Usage) -> None:
    course.message("thread.message.completed", status="completed", completed_at=at, content=[*content])
    course.step("thread.run.step.completed", status="completed", completed_at=at, usage=usage)


def _stopped_well(course: _Course, happened: ModelStopped) -> None:
    total = course.spend(happened.usage)
    if happened.calls:
        course.keep_calls(happened.calls)
        course.remember(step_usage=happened.usage)
        if all(isinstance(call, FunctionCall) for call in happened.calls):
            _require_outputs(course)
        return
    _complete_message(course, happened.at, happened.content, happened.usage)
    course.run("thread.run.completed", status="completed", completed_at=happened.at, expires_at=None, usage=total)


def _tools_finished(course: _Course, happened: ToolsFinished) -> None:
    """With functions among the calls the run waits for their outputs, else the model has its next turn."""
    assert course.tools_run
    course.keep_calls(happened.calls)
    if any(isinstance(call, FunctionCall) for call in happened.calls):
        _require_outputs(course)
        return
    usage = course.state.progress.step_usage
    course.step("thread.run.step.completed", status="completed", completed_at=happened.at, usage=usage)
    course.remember(step_usage=None, said=None)


def _require_outputs(course: _Course) -> None:
    """Of the open step's functions: nobody else can make these calls."""
    assert course.state.step is not None
    required = [
        RequiredCall(id=call.id, function=CalledFunction(name=call.function.name, arguments=call.function.arguments))
        for call in cast("ToolCalls", course.state.step.step_details).tool_calls
        if isinstance(call, FunctionCall)
    ]
    course.remember(said=None)
    course.run(
        "thread.run.requires_action",
        status="requires_action",
        required_action=RequiredAction(submit_tool_outputs=RequiredCalls(tool_calls=required)),
    )


def _truncated(course: _Course, happened: ModelTruncated) -> None:
    total = course.spend(happened.usage)
    reason: IncompleteReason = "content_filter" if happened.reason == "content_filter" else "max_tokens"
    course.break_off(happened.at, reason, happened.content, happened.calls)
    if course.state.step is not None:
        # A step has no status `incomplete`; what it was for has been done as far as it went.
        course.step("thread.run.step.completed", status="completed", completed_at=happened.at, usage=happened.usage)
    course.run(
        "thread.run.incomplete",
        status="incomplete",
        completed_at=happened.at,
        expires_at=None,
        incomplete_details=RunIncompleteDetails(reason=happened.reason),
        usage=total,
    )


def _failed(course: _Course, happened: ModelFailed) -> None:
    course.break_off(happened.at, "run_failed", happened.content, happened.calls)
    if course.state.step is not None:
        code: StepErrorCode = "rate_limit_exceeded" if happened.code == "rate_limit_exceeded" else "server_error"
        course.step(
            "thread.run.step.failed",
            status="failed",
            failed_at=happened.at,
            last_error=StepError(code=code, message=happened.message),
            usage=course.state.progress.step_usage or Usage(),
        )
    course.run(
        "thread.run.failed",
        status="failed",
        failed_at=happened.at,
        last_error=RunError(code=happened.code, message=happened.message),
        required_action=None,
        usage=course.state.progress.usage,
    )


def _outputs(course: _Course, happened: ToolOutputs) -> None:
    step = course.state.step
    assert step is not None
    calls = cast("ToolCalls", step.step_details).tool_calls
    waiting = [call for call in calls if isinstance(call, FunctionCall) and call.function.output is None]
    expected, got = [call.id for call in waiting], [output.tool_call_id for output in happened.outputs]
    if sorted(expected) != sorted(got):
        raise errors.outputs_mismatch(expected, got)
    answers = {output.tool_call_id: output.output or "" for output in happened.outputs}
    answered = [
        replace(call, function=replace(call.function, output=answers[call.id])) if call in waiting else call
        for call in calls
    ]
    course.step(
        "thread.run.step.completed",
        status="completed",
        completed_at=happened.at,
        step_details=ToolCalls(tool_calls=answered),
        usage=course.state.progress.step_usage,
    )
    course.remember(step_usage=None)
    # `started_at` keeps its old value until a worker goes on (seen on the wire).
    course.run("thread.run.queued", status="queued", required_action=None)


def _begin_cancelling(course: _Course, _: Cancel) -> None:
    course.run("thread.run.cancelling", status="cancelling", required_action=None)


def _cancel_at_rest(course: _Course, happened: Cancel) -> None:
    """Nobody works on the run, so nobody needs to let go of it first."""
    _begin_cancelling(course, happened)
    _cancelled(course, Stopped(at=happened.at))


_Ended: TypeAlias = Stopped | ModelStopped | ModelTruncated | ModelFailed | Expire


def _cancelled(course: _Course, happened: _Ended) -> None:
    course.break_off(happened.at, "run_cancelled", happened.content, happened.calls)
    if course.state.step is not None:
        course.step(
            "thread.run.step.cancelled",
            status="cancelled",
            cancelled_at=happened.at,
            usage=course.state.progress.step_usage or Usage(),
        )
    course.run(
        "thread.run.cancelled",
        status="cancelled",
        cancelled_at=happened.at,
        usage=course.state.progress.usage,
    )


def _expired(course: _Course, happened: Expire) -> None:
    course.break_off(happened.at, "run_expired", happened.content, happened.calls)
    if course.state.step is not None:
        course.step(
            "thread.run.step.expired",
            status="expired",
            expired_at=happened.at,
            usage=course.state.progress.step_usage or Usage(),
        )
    course.run("thread.run.expired", status="expired", required_action=None, usage=course.state.progress.usage)


def _lost(course: _Course, happened: WorkerLost) -> None:
    """The turn begins again, so nothing of it may stay: neither an empty message, nor a text that is said twice."""
    cancelling = course.state.run.status == "cancelling"
    if course.state.step is not None:
        # The turn of a run that is being cancelled does not begin again: what it said in full stays said.
        said = None if cancelling else course.state.progress.said
        course.add(_discarded(course.state.step, course.state.open_message, said))
        course.remember(said=None)
        _unspend(course)
    if cancelling:
        _cancelled(course, Stopped(at=happened.at))


def _unspend(course: _Course) -> None:
    """Takes back the turn whose tools were at work: a run's usage is the sum of its steps'."""
    progress = course.state.progress
    if progress.step_usage is not None:
        usage = _sum(progress.usage, progress.step_usage, -1)
        course.remember(usage=usage, turns=progress.turns - 1, step_usage=None)


def _discarded(step: RunStep, message: Message | None, said: Said | None) -> Discarded:
    if said is not None:
        return Discarded(step_ids=(said.step_id, step.id), message_ids=(said.message_id,))
    return Discarded(step_ids=(step.id,), message_ids=() if message is None else (message.id,))


Rule: TypeAlias = Callable[[_Course, Any], None]

TABLE: Final[dict[tuple[RunStatus, type[Input]], Rule]] = {
    ("queued", Create): _create,
    ("queued", Claim): _claim,
    ("queued", Cancel): _cancel_at_rest,
    ("queued", Expire): _expired,
    ("in_progress", ModelText): _text,
    ("in_progress", ModelCalls): _calls,
    ("in_progress", ModelStopped): _stopped_well,
    ("in_progress", ModelTruncated): _truncated,
    ("in_progress", ModelFailed): _failed,
    ("in_progress", ToolsFinished): _tools_finished,
    ("in_progress", Cancel): _begin_cancelling,
    ("in_progress", Expire): _expired,
    ("in_progress", WorkerLost): _lost,
    ("requires_action", ToolOutputs): _outputs,
    ("requires_action", Cancel): _cancel_at_rest,
    ("requires_action", Expire): _expired,
    ("cancelling", Stopped): _cancelled,
    ("cancelling", ModelStopped): _cancelled,
    ("cancelling", ModelTruncated): _cancelled,
    ("cancelling", ModelFailed): _cancelled,
    ("cancelling", Expire): _cancelled,
    ("cancelling", WorkerLost): _lost,
}
