"""Single decisions, field by field, and histories of any length."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from support.decisions import AT, CALLS, FOUND, INPUTS, OUTPUTS, TEXT, USAGE, new_run, outcome, state
from understudy.core.errors import Conflict
from understudy.core.run.inputs import Input, ModelCalls, ModelStopped, Stopped, ToolOutputs
from understudy.core.run.machine import ACTIVE, TERMINAL, Superseded, decide, evolve
from understudy.core.run.state import Discarded, MessageFact, RunFact, RunState, StepFact
from understudy.wire.runs import ToolOutput, Usage
from understudy.wire.steps import MessageCreation, ToolCalls


def test_a_completed_run_loses_its_expiry_and_shows_its_usage() -> None:
    run = state("completed").run
    assert (run.expires_at, run.completed_at, run.usage) == (None, AT + 4, USAGE)


def test_usage_stays_null_while_the_run_waits_for_outputs() -> None:
    waiting = state("requires_action")
    assert waiting.run.usage is None
    assert waiting.step is not None
    assert waiting.step.usage is None
    assert waiting.progress.step_usage == USAGE


def test_outputs_complete_the_step_with_its_usage_and_queue_the_run() -> None:
    decision = decide(state("requires_action"), INPUTS["ToolOutputs"])
    step, run = decision.facts
    assert isinstance(step, StepFact)
    assert isinstance(run, RunFact)
    assert step.step.usage == USAGE
    assert isinstance(step.step.step_details, ToolCalls)
    assert [call.function.output for call in step.step.step_details.tool_calls] == ["3", "9.90"]  # type: ignore[union-attr]
    assert (run.run.status, run.run.required_action, run.run.started_at) == ("queued", None, AT + 1)


def test_a_null_output_counts_as_an_empty_string() -> None:
    outputs = (ToolOutput(tool_call_id="call_p"), OUTPUTS[1])
    step = decide(state("requires_action"), ToolOutputs(at=AT, outputs=outputs)).facts[0]
    assert isinstance(step, StepFact)
    assert step.step.step_details.tool_calls[0].function.output == ""  # type: ignore[union-attr]


def test_usage_adds_up_over_turns() -> None:
    second = decide(state("in_progress, second turn"), INPUTS["ModelText"]).after
    done = decide(second, ModelStopped(at=AT + 9, content=TEXT, usage=USAGE)).after
    assert done.run.usage == Usage(prompt_tokens=62, completion_tokens=4, total_tokens=66)


def test_text_before_calls_completes_its_message_first() -> None:
    decision = decide(state("in_progress, message open"), INPUTS["ModelCalls"])
    assert [fact.event for fact in decision.facts if not isinstance(fact, Discarded)] == [
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.step.created",
        "thread.run.step.in_progress",
    ]


def test_a_failed_run_keeps_what_its_message_had_so_far() -> None:
    facts = decide(state("in_progress, message open"), INPUTS["ModelFailed"]).facts
    message = facts[0]
    assert isinstance(message, MessageFact)
    assert message.event == "thread.message.incomplete"
    assert message.message.content == [*TEXT]
    assert message.message.incomplete_details is not None
    assert message.message.incomplete_details.reason == "run_failed"


def test_a_lost_worker_leaves_no_message_behind() -> None:
    decision = decide(state("in_progress, message open"), INPUTS["WorkerLost"])
    assert decision.facts == (Discarded(step_ids=("step_A",), message_ids=("msg_A",)),)
    assert decision.after == replace(state("in_progress, message open"), step=None, message=None)


def test_a_lost_worker_takes_along_the_text_that_its_turn_began_with() -> None:
    decision = decide(state("in_progress, calls open after text"), INPUTS["WorkerLost"])
    assert decision.facts == (Discarded(step_ids=("step_A", "step_B"), message_ids=("msg_A",)),)
    assert decision.after == state("in_progress"), "as if the turn had never begun"


def test_a_text_before_calls_that_were_made_in_full_is_no_longer_discarded() -> None:
    reached = state("in_progress, calls open after text")
    for name in ("ModelStopped (calls)", "ToolOutputs", "Claim"):
        reached = decide(reached, INPUTS[name]).after
    reached = decide(reached, ModelCalls(at=AT + 9, step_id="step_C")).after
    assert decide(reached, INPUTS["WorkerLost"]).facts == (Discarded(step_ids=("step_C",)),)


def test_a_lost_worker_of_a_run_that_is_being_cancelled_leaves_what_was_said_in_full() -> None:
    facts = decide(state("cancelling, calls open after text"), INPUTS["WorkerLost"]).facts
    assert facts[0] == Discarded(step_ids=("step_B",))


def test_the_tokens_of_a_turn_whose_tools_are_at_work_are_counted_once_whatever_comes() -> None:
    for then in ("ToolsFinished (search)", "ModelFailed", "Expire"):
        decision = decide(state("in_progress, search at work"), INPUTS[then])
        (step,) = [fact.step for fact in decision.facts if isinstance(fact, StepFact)]
        assert step.usage == decision.after.progress.usage == USAGE, then
    cancelled = decide(state("cancelling, search at work"), INPUTS["Stopped"])
    assert [fact.step.usage for fact in cancelled.facts if isinstance(fact, StepFact)] == [USAGE]
    assert cancelled.after.run.usage == USAGE


@pytest.mark.parametrize("name", ["in_progress, search at work", "in_progress, search at work after text"])
def test_a_turn_whose_tools_were_at_work_is_lost_as_if_it_had_never_begun(name: str) -> None:
    assert decide(state(name), INPUTS["WorkerLost"]).after == state("in_progress")


def test_only_functions_are_required_of_a_client() -> None:
    waiting = state("requires_action, search made")
    assert waiting.run.required_action is not None
    assert [call.id for call in waiting.run.required_action.submit_tool_outputs.tool_calls] == ["call_p", "call_q"]
    step = decide(waiting, INPUTS["ToolOutputs"]).facts[0]
    assert isinstance(step, StepFact)
    assert isinstance(step.step.step_details, ToolCalls)
    assert step.step.step_details.tool_calls[0] == FOUND
    assert step.step.usage == USAGE


def test_a_cancelled_search_keeps_what_it_had_found() -> None:
    happened = Stopped(at=AT + 7, calls=(FOUND,))
    step = decide(state("cancelling, search at work"), happened).facts[0]
    assert isinstance(step, StepFact)
    assert step.step.step_details == ToolCalls(tool_calls=[FOUND])


@pytest.mark.parametrize("got", [(), OUTPUTS[:1], (*OUTPUTS, OUTPUTS[0]), (ToolOutput(tool_call_id="call_x"),)])
def test_outputs_must_name_each_call_once(got: tuple[ToolOutput, ...]) -> None:
    ids = [output.tool_call_id for output in got]
    with pytest.raises(Conflict) as refusal:
        decide(state("requires_action"), ToolOutputs(at=AT, outputs=got))
    assert refusal.value.message == f"Expected tool outputs for call_ids ['call_p', 'call_q'], got {ids!r}"


@pytest.mark.parametrize("name", ["ModelFailed", "ModelTruncated (filter)", "Expire", "Cancel", "ModelStopped (text)"])
def test_a_message_that_a_client_has_deleted_is_told_of_as_if_it_were_there(name: str) -> None:
    reached = state("in_progress, message open")
    loaded = replace(reached, message=None)
    assert decide(loaded, INPUTS[name]).facts == decide(reached, INPUTS[name]).facts


def test_calls_are_never_kept_in_the_step_of_a_message() -> None:
    loaded = replace(state("in_progress, message open"), message=None)
    for fact in decide(loaded, INPUTS["Expire"]).facts:
        if isinstance(fact, StepFact):
            assert (fact.step.type, type(fact.step.step_details)) == ("message_creation", MessageCreation)
    assert outcome(loaded, INPUTS["ModelStopped (calls)"]) == "cannot happen"


DELETED = "the client deletes the open message"


@given(st.lists(st.sampled_from([*sorted(INPUTS), DELETED]), max_size=30))
@settings(max_examples=400, deadline=None)
def test_any_history_keeps_the_streams_rules(names: list[str]) -> None:
    """Whatever happens in whatever order, what the clients are told is a stream that the SDKs can read."""
    reached = decide(RunState(run=new_run()), INPUTS["Create"]).after
    history = [*decide(RunState(run=new_run()), INPUTS["Create"]).facts]
    for number, name in enumerate(names):
        if name == DELETED:
            reached = replace(reached, message=None)
            continue
        happened = _fresh(INPUTS[name], number)
        try:
            decision = decide(reached, happened)
        except (Conflict, Superseded, AssertionError):
            continue
        folded = reached
        for fact in decision.facts:
            folded = evolve(folded, fact)
        assert folded.run == decision.after.run
        history += decision.facts
        reached = decision.after
    _assert_readable(history)
    if reached.run.status in TERMINAL:
        assert reached.step is None
        assert reached.message is None
        assert reached.run.usage is not None
    else:
        assert reached.run.status in ACTIVE
        assert reached.run.usage is None


def _fresh(happened: Input, number: int) -> Input:
    """The same input with ids of its own, as the engine would make them."""
    changes = {
        field: f"{getattr(happened, field)}{number}" for field in ("step_id", "message_id") if hasattr(happened, field)
    }
    return replace(happened, **changes) if changes else happened


def _assert_readable(history: list[object]) -> None:
    open_message: str | None = None
    open_step: str | None = None
    ended = False
    for fact in history:
        assert not ended, "nothing follows a terminal event"
        match fact:
            case MessageFact(event="thread.message.created", message=message):
                assert open_message is None
                open_message = message.id
            case MessageFact(message=message):
                assert message.id == open_message
                if message.status != "in_progress":
                    open_message = None
            case StepFact(event="thread.run.step.created", step=step):
                assert open_step is None
                open_step = step.id
            case StepFact(step=step):
                assert step.id == open_step
                if step.status != "in_progress":
                    assert open_message is None
                    open_step = None
            case Discarded():
                open_step = open_message = None
            case RunFact(run=run):
                ended = run.status in TERMINAL
    if ended:
        assert open_step is None
        assert open_message is None


def test_calls_are_required_in_the_order_in_which_the_model_made_them() -> None:
    action = state("requires_action").run.required_action
    assert action is not None
    assert [call.id for call in action.submit_tool_outputs.tool_calls] == [call.id for call in CALLS]
