"""What a run is made of while it runs: values that `machine.decide` reads and `machine.evolve` makes anew."""

from typing import Final, TypeAlias

from msgspec import Struct

from understudy.wire.base import ReasoningEffort
from understudy.wire.events import MessageEvent, RunEvent, StepEvent
from understudy.wire.messages import Message
from understudy.wire.runs import Run, Usage
from understudy.wire.steps import MessageCreation, RunStep
from understudy.wire.tools import ResponseFormat, Tool, ToolChoice, ToolResources


class Said(Struct, frozen=True, kw_only=True):
    """The step and the message that the open turn has completed before it went on to its calls."""

    step_id: str
    message_id: str


class Progress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run must remember between model turns and within one, and no client is shown.

    `usage` is the sum of what the model server reported over all turns so far. `step_usage` belongs to the open
    tool_calls step, from the moment at which the model has made its calls: clients see it only when the outputs are in.
    `said` is undone with the turn if its worker is lost.
    """

    usage: Usage = Usage()
    step_usage: Usage | None = None
    turns: int = 0
    said: Said | None = None


class RunState(Struct, frozen=True, kw_only=True):
    """A run with its open step and open message; at most one of each is open at a time."""

    run: Run
    step: RunStep | None = None
    message: Message | None = None
    progress: Progress = Progress()

    @property
    def open_message(self) -> Message | None:
        """The message that the open step creates; as it began where a client has deleted its row meanwhile."""
        step = self.step
        if self.message is not None or step is None or not isinstance(step.step_details, MessageCreation):
            return self.message
        return Message(
            id=step.step_details.message_creation.message_id,
            created_at=step.created_at,
            thread_id=step.thread_id,
            status="in_progress",
            role="assistant",
            content=[],
            assistant_id=step.assistant_id,
            run_id=step.run_id,
        )


class Source(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A passage that the model was shown and may cite: the part of its note's `output` from `start` to `end`."""

    file_id: str
    file_name: str
    start: int
    end: int
    page: int | None = None


class MadeFile(Struct, frozen=True):
    """A file that the model's code wrote: its path below `/mnt/data`, and the id under which clients have it."""

    name: str
    file_id: str


class Note(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call of a built-in tool as the model knows it: what it wrote, and what it was told. No client is shown it.

    `turn` and `first` number the sources for citations: the n-th of them is cited as `turn:first+n`.
    `files` are what its code wrote.
    """

    arguments: str
    output: str
    sources: list[Source] = []
    turn: int = 0
    first: int = 0
    files: list[MadeFile] = []


class RunSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The effective settings of a run, snapshotted when it is created: nothing is read from the assistant later.

    `None` means that neither the run nor the assistant said anything, so nothing is sent to the model server.
    """

    model: str
    instructions: str
    tools: list[Tool]
    temperature: float | None = None
    top_p: float | None = None
    response_format: ResponseFormat = "auto"
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    assistant_resources: ToolResources = ToolResources()


# --- facts: what has happened, named as the stream names it


class RunFact(Struct, frozen=True):
    event: RunEvent
    run: Run


class StepFact(Struct, frozen=True):
    event: StepEvent
    step: RunStep


class MessageFact(Struct, frozen=True):
    event: MessageEvent
    message: Message


class Discarded(Struct, frozen=True, kw_only=True):
    """A lost worker's turn: its steps and messages leave the thread as if they had never been. Not streamed."""

    step_ids: tuple[str, ...]
    message_ids: tuple[str, ...] = ()


DISCARDED: Final = "discarded"  # its event's name: the log's own, no client sees it

Fact: TypeAlias = RunFact | StepFact | MessageFact | Discarded


def shown_by(fact: RunFact | StepFact | MessageFact) -> Run | RunStep | Message:
    """The object as clients see it behind the fact."""
    match fact:
        case RunFact(run=run):
            return run
        case StepFact(step=step):
            return step
        case MessageFact(message=message):
            return message
