"""Every reachable run state, every input, and the decision table that `decide` makes of them, as Markdown."""

from collections.abc import Mapping

from understudy.core.errors import ApiError
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
from understudy.core.run.machine import Superseded, decide
from understudy.core.run.state import Discarded, Fact, RunState
from understudy.wire.messages import TextPart, TextValue
from understudy.wire.runs import Run, ToolOutput, Truncation, Usage
from understudy.wire.steps import FileSearchCall, FileSearchOutcome, FileSearchResult, FunctionCall, FunctionOutcome

AT = 1_760_000_000
TEXT = (TextPart(text=TextValue(value="Four.")),)
CALLS = (
    FunctionCall(id="call_p", function=FunctionOutcome(name="stock", arguments='{"sku":7}')),
    FunctionCall(id="call_q", function=FunctionOutcome(name="price", arguments='{"sku":7}')),
)
SEARCH = FileSearchCall(id="call_s", file_search=FileSearchOutcome())
FOUND = FileSearchCall(
    id="call_s",
    file_search=FileSearchOutcome(results=[FileSearchResult(file_id="file-A", file_name="a.txt", score=0.5)]),
)
USAGE = Usage(prompt_tokens=31, completion_tokens=2, total_tokens=33)
OUTPUTS = (ToolOutput(tool_call_id="call_p", output="3"), ToolOutput(tool_call_id="call_q", output="9.90"))


def new_run() -> Run:
    return Run(
        id="run_A",
        created_at=AT,
        assistant_id="asst_A",
        thread_id="thread_A",
        status="queued",
        expires_at=AT + 600,
        model="gpt-4o",
        instructions="",
        tools=[],
        metadata={},
        temperature=1.0,
        top_p=1.0,
        max_completion_tokens=None,
        max_prompt_tokens=None,
        truncation_strategy=Truncation(),
        response_format="auto",
        tool_choice="auto",
        parallel_tool_calls=True,
    )


INPUTS: Mapping[str, Input] = {
    "Create": Create(at=AT),
    "Claim": Claim(at=AT + 1),
    "ModelText": ModelText(at=AT + 2, step_id="step_A", message_id="msg_A"),
    "ModelCalls": ModelCalls(at=AT + 3, step_id="step_B", content=TEXT),
    "ModelStopped (text)": ModelStopped(at=AT + 4, content=TEXT, usage=USAGE),
    "ModelStopped (calls)": ModelStopped(at=AT + 4, calls=CALLS, usage=USAGE),
    "ModelStopped (search)": ModelStopped(at=AT + 4, calls=(SEARCH,), usage=USAGE),
    "ModelStopped (search and calls)": ModelStopped(at=AT + 4, calls=(SEARCH, *CALLS), usage=USAGE),
    "ToolsFinished (search)": ToolsFinished(at=AT + 5, calls=(FOUND,)),
    "ToolsFinished (search and calls)": ToolsFinished(at=AT + 5, calls=(FOUND, *CALLS)),
    "ModelTruncated (prompt)": ModelTruncated(at=AT + 4, reason="max_prompt_tokens"),
    "ModelTruncated (completion)": ModelTruncated(
        at=AT + 4, reason="max_completion_tokens", content=TEXT, calls=CALLS, usage=USAGE
    ),
    "ModelTruncated (filter)": ModelTruncated(
        at=AT + 4, reason="content_filter", content=TEXT, calls=CALLS, usage=USAGE
    ),
    "ModelFailed": ModelFailed(at=AT + 4, code="server_error", message="It broke.", content=TEXT, calls=CALLS),
    "ToolOutputs": ToolOutputs(at=AT + 5, outputs=OUTPUTS),
    "ToolOutputs (one missing)": ToolOutputs(at=AT + 5, outputs=OUTPUTS[:1]),
    "ToolOutputs (one twice)": ToolOutputs(at=AT + 5, outputs=(OUTPUTS[0], OUTPUTS[0])),
    "Cancel": Cancel(at=AT + 6),
    "Stopped": Stopped(at=AT + 7, content=TEXT, calls=CALLS),
    "Expire": Expire(at=AT + 600, content=TEXT, calls=CALLS),
    "WorkerLost": WorkerLost(at=AT + 8),
}

# Which inputs lead there, so that every state in the table is one that a run can really be in.
PATHS: Mapping[str, tuple[str, ...]] = {
    "new": (),
    "queued": ("Create",),
    "in_progress": ("Create", "Claim"),
    "in_progress, message open": ("Create", "Claim", "ModelText"),
    "in_progress, calls open": ("Create", "Claim", "ModelCalls"),
    "in_progress, calls open after text": ("Create", "Claim", "ModelText", "ModelCalls"),
    "requires_action": ("Create", "Claim", "ModelCalls", "ModelStopped (calls)"),
    "queued, outputs in": ("Create", "Claim", "ModelCalls", "ModelStopped (calls)", "ToolOutputs"),
    "in_progress, second turn": ("Create", "Claim", "ModelCalls", "ModelStopped (calls)", "ToolOutputs", "Claim"),
    "in_progress, search at work": ("Create", "Claim", "ModelCalls", "ModelStopped (search)"),
    "in_progress, search at work after text": ("Create", "Claim", "ModelText", "ModelCalls", "ModelStopped (search)"),
    "in_progress, search made": ("Create", "Claim", "ModelCalls", "ModelStopped (search)", "ToolsFinished (search)"),
    "requires_action, search made": (
        "Create",
        "Claim",
        "ModelCalls",
        "ModelStopped (search and calls)",
        "ToolsFinished (search and calls)",
    ),
    "cancelling": ("Create", "Claim", "Cancel"),
    "cancelling, message open": ("Create", "Claim", "ModelText", "Cancel"),
    "cancelling, calls open": ("Create", "Claim", "ModelCalls", "Cancel"),
    "cancelling, calls open after text": ("Create", "Claim", "ModelText", "ModelCalls", "Cancel"),
    "cancelling, search at work": ("Create", "Claim", "ModelCalls", "ModelStopped (search)", "Cancel"),
    "cancelled": ("Create", "Cancel"),
    "completed": ("Create", "Claim", "ModelText", "ModelStopped (text)"),
    "incomplete": ("Create", "Claim", "ModelTruncated (prompt)"),
    "failed": ("Create", "Claim", "ModelFailed"),
    "expired": ("Create", "Expire"),
}


def state(name: str) -> RunState:
    reached = RunState(run=new_run())
    for step in PATHS[name]:
        reached = decide(reached, INPUTS[step]).after
    return reached


def outcome(reached: RunState, happened: Input) -> str:
    """What `decide` says, in one line: the facts in order, or why not."""
    try:
        decision = decide(reached, happened)
    except ApiError as refusal:
        return f"refused: {refusal}"
    except Superseded:
        return "superseded"
    except AssertionError:
        return "cannot happen"
    return ", ".join(_named(fact) for fact in decision.facts) or "nothing to tell"


def _named(fact: Fact) -> str:
    if isinstance(fact, Discarded):
        return f"discarded ({', '.join((*fact.step_ids, *fact.message_ids))})"
    return fact.event.removeprefix("thread.")


def markdown() -> str:
    """The whole table, a section a state. Only what is not simply superseded gets a row."""
    lines = [
        "# What may happen to a run",
        "",
        "Made from `core/run/machine.py` by `make docs`; a test fails when the two differ. For every state that a run",
        "can be in and every input: the facts that follow, in order, each also an event of the stream, with `thread.`",
        "left out. What is discarded with a lost worker is named: `step_A` has the message `msg_A`, `step_B` calls.",
        "",
        "Inputs that a section does not list find the run moved on (`Superseded`): a worker that meets this lets go.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        *sorted(_edges()),
        "```",
        "",
    ]
    for name in PATHS:
        reached = state(name)
        lines += [f"## {name}", "", "| input | what follows |", "|---|---|"]
        for label, happened in INPUTS.items():
            if (label == "Create") != (name == "new"):
                continue  # the store writes a run once; the machine cannot see that it is not written yet
            told = outcome(reached, happened)
            if told not in {"superseded", "cannot happen"}:
                lines.append(f"| {label} | {told} |")
        lines.append("")
    return "\n".join(lines)


def _edges() -> set[str]:
    edges = {"    [*] --> queued: Create"}
    for name in PATHS:
        reached = state(name)
        for label, happened in INPUTS.items():
            try:
                after = decide(reached, happened).after
            except (ApiError, Superseded, AssertionError):
                continue
            if after.run.status != reached.run.status:
                edges.add(f"    {reached.run.status} --> {after.run.status}: {label.split(' (')[0]}")
    return edges
