"""A run in a worker's hands, and one model turn of it on its way to the thread and to the readers."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from understudy.core.chat.assemble import (
    CallArguments,
    CallStarted,
    ImagePiece,
    Piece,
    RefusalPiece,
    TextPiece,
    Turn,
    text_alone,
)
from understudy.core.chat.context import content_tokens
from understudy.core.chat.deltas import empty_text_delta, message_delta, step_delta
from understudy.core.chat.step_calls import StepCalls
from understudy.core.ids import RunId
from understudy.core.run.inputs import (
    Expire,
    Input,
    ModelCalls,
    ModelFailed,
    ModelStopped,
    ModelText,
    ModelTruncated,
    Stopped,
)
from understudy.core.run.machine import Decision, decide
from understudy.core.run.state import Fact, Note
from understudy.engine.attention import Attention
from understudy.engine.frames import TextFrames, delta_frame
from understudy.engine.journal import Deltas, Journal
from understudy.ports import Bus, Clock, Frame, Lease, NewId, Store, StoredRun
from understudy.wire.chat import Chunk
from understudy.wire.deltas import CallDelta
from understudy.wire.messages import RefusalPart, TextPart
from understudy.wire.runs import Run
from understudy.wire.steps import ToolCall

Ending: TypeAlias = Stopped | Expire | ModelFailed


class _Foreseen(Struct, frozen=True):
    """What is to be written before the next append and with it: the row that there is, and all that comes behind it."""

    row: StoredRun
    facts: tuple[Fact, ...] = ()
    deltas: list[Deltas] = []
    message_tokens: int = 0


class HeldRun:
    """The newest known row of a run, and appends that only its lease's owner may make.

    `dropped`: it is gone, or somebody else's.
    """

    def __init__(
        self,
        stored: StoredRun,
        owner: str,
        journal: Journal,
        bus: Bus,
        attention: Attention,
        *,
        clock: Clock,
        new_id: NewId,
        count: Callable[[str], int],
    ) -> None:
        self.stored = stored
        self.owner = owner
        self.attention = attention
        self.new_id = new_id
        self._journal = journal
        self._bus = bus
        self._clock = clock
        self._count = count
        self._foreseen: _Foreseen | None = None
        self.dropped = False

    @property
    def run(self) -> Run:
        return self.stored.state.run

    @property
    def working(self) -> bool:
        """Whether there is something left to do for this owner."""
        return not self.dropped and self.run.status == "in_progress"

    def now(self) -> int:
        return int(self._clock())

    async def append(self, happened: Input, *, notes: Mapping[str, Note] | None = None) -> None:
        """Raises `Superseded`, `SeqConflict`, `Missing`, `StoreUnavailable`. A run that rests is freed.

        `notes` are of the open step's calls.
        """
        decision = decide(self.stored.state, happened)
        goes_on = decision.after.run.status == "in_progress"
        foreseen = self._foreseen or _Foreseen(self.stored)
        self.stored = await self._journal.append(
            foreseen.row,
            Decision((*foreseen.facts, *decision.facts), decision.after),
            owner=self.owner,
            lease="keep" if goes_on else None,
            message_tokens=foreseen.message_tokens or self._message_tokens(happened),
            notes=notes,
            deltas=foreseen.deltas,
        )
        self._foreseen = None

    def foresee(self, happened: Input) -> None:
        """Has the next append write this too: it follows at once. Raises `Superseded`.

        Deltas that are shown in between are seen when that is written, in their places.
        """
        decision = decide(self.stored.state, happened)
        foreseen = self._foreseen or _Foreseen(self.stored)
        self._foreseen = replace(
            foreseen,
            facts=(*foreseen.facts, *decision.facts),
            message_tokens=foreseen.message_tokens or self._message_tokens(happened),
        )
        self.stored = replace(self.stored, state=decision.after)

    def show(self, frames: Sequence[Frame]) -> None:
        """Deltas, behind all that was appended or foreseen."""
        if self._foreseen is None:
            self._bus.publish(RunId(self.run.id), frames)
        elif frames:
            self._foreseen.deltas.append(Deltas(len(self._foreseen.facts), frames))

    def _message_tokens(self, happened: Input) -> int:
        """What the message that this input completes costs in later prompts."""
        match happened:
            case ModelCalls() | ModelStopped() | ModelTruncated() | ModelFailed() | Stopped() | Expire():
                return content_tokens(happened.content, self._count, "assistant") if happened.content else 0
            case _:
                return 0

    async def hand_back(self) -> None:
        """Anybody may take the run over from now on. Raises `SeqConflict`, `Missing`, `StoreUnavailable`."""
        state = self.stored.state
        # Not a free run: the owner of the dead lease is what only one of two takers can replace.
        dead = Lease(owner=self.owner, until=self._clock())
        self.stored = await self._journal.append(self.stored, Decision((), state), owner=self.owner, lease=dead)
        self.drop()

    async def reload(self, store: Store) -> bool:
        """Whether the run still exists, is active and is this owner's. What was foreseen is not to be."""
        self._foreseen = None
        fresh = await store.run(RunId(self.run.id))
        if fresh is None or fresh.lease is None or fresh.lease.owner != self.owner:
            self.drop()
            return False
        self.stored = fresh
        return True

    def drop(self) -> None:
        """Stops working on it: it is gone, or somebody else's."""
        self.dropped = True


class Reply:
    """One model turn: chunks in, facts and deltas out, in the order of the contract's section 4.3."""

    def __init__(self, held: HeldRun, turn: Turn, calls: StepCalls, bus: Bus) -> None:
        self.turn = turn
        self.calls = calls
        self._held = held
        self._bus = bus
        self._run_id = RunId(held.run.id)
        self._texts: TextFrames | None = None
        self._is_whole = False

    @property
    def text(self) -> str:
        """All that the message says."""
        return "".join(
            part.text.value if isinstance(part, TextPart) else part.refusal
            for part in self.turn.content
            if isinstance(part, TextPart | RefusalPart)
        )

    @property
    def shown_calls(self) -> tuple[ToolCall, ...]:
        """The turn's calls as their step shows them."""
        return self.calls.shown(self.turn.calls)

    async def take(self, chunks: Sequence[Chunk], *, is_rest: bool) -> None:
        """`is_rest`: these are the last ones."""
        self._is_whole = is_rest
        for chunk in chunks:
            await self._show(self.turn.feed(chunk))

    def take_now(self, chunks: Sequence[Chunk]) -> bool:
        """Takes chunks whose pieces can be shown without anything being written first: more of a message, as a rule.

        `False`: at least one of them needs more than that, and none was taken.
        """
        if len(chunks) == 1 and (text := text_alone(chunks[0])) is not None and self.take_text(text):
            return True
        message = self._held.stored.state.open_message
        for chunk in chunks:
            for choice in chunk.choices[:1]:
                delta = choice.delta
                if delta.tool_calls or (message is None and (delta.content or delta.refusal)):
                    return False
        frames: list[Frame] = []
        try:
            for chunk in chunks:
                for piece in self.turn.feed(chunk):
                    assert message is not None
                    assert isinstance(piece, TextPiece | RefusalPiece)
                    frames.append(self._message_frame(message.id, piece))
        finally:
            self._held.show(frames)
        return True

    def take_text(self, text: str) -> bool:
        """The same for a chunk that only goes on with a text. `False`: there is none that it could go on with."""
        texts = self._texts
        if texts is None or not self.turn.more_text(text):
            return False
        self._bus.publish(self._run_id, (texts.frame(text),))
        return True

    async def finish(self) -> None:
        """The model has said all: shows what was held back."""
        self._is_whole = True
        await self._show(self.turn.finish())
        for call in self.calls.finish():
            self.show_call(call)

    async def ensure_begun(self) -> None:
        """An empty answer is a message too, and the SDKs need one delta of it."""
        if self._held.stored.state.step is None:
            message_id = await self._begin_message()
            images = [delta_frame(message_delta(message_id, image)) for image in self.turn.begin_message()]
            self._held.show(images or [delta_frame(empty_text_delta(message_id))])

    def with_remains(self, ending: Ending) -> Ending:
        """The ending, with what had arrived of the message or of the calls."""
        return replace(ending, content=self.turn.content, calls=self.shown_calls)

    async def _show(self, pieces: Sequence[Piece]) -> None:
        frames: list[Frame] = []
        for piece in pieces:
            state = self._held.stored.state
            match piece:
                case TextPiece() | RefusalPiece() | ImagePiece():
                    message_id = await self._begin_message() if state.open_message is None else state.open_message.id
                    frames.append(self._message_frame(message_id, piece))
                case CallStarted() | CallArguments():
                    if state.step is None or state.open_message is not None:
                        self._held.show(frames)
                        frames = []
                        step_id = await self._begin_calls()
                    else:
                        step_id = state.step.id
                    frames += [delta_frame(step_delta(step_id, call)) for call in self.calls.deltas(piece)]
        self._held.show(frames)

    def show_call(self, call: CallDelta) -> None:
        """More of a call of the open step."""
        step = self._held.stored.state.step
        assert step is not None
        self._held.show([delta_frame(step_delta(step.id, call))])

    def _message_frame(self, message_id: str, piece: TextPiece | RefusalPiece | ImagePiece) -> Frame:
        if not isinstance(piece, TextPiece) or piece.first or piece.annotations:
            self._texts = None  # the next text may be of another part
            return delta_frame(message_delta(message_id, piece))
        if self._texts is None:
            self._texts = TextFrames(message_id, piece.index)
        return self._texts.frame(piece.value)

    async def _append(self, happened: ModelText | ModelCalls) -> None:
        """What begins where the answer has come whole ends in the same write."""
        if self._is_whole:
            self._held.foresee(happened)
        else:
            await self._held.append(happened)

    async def _begin_message(self) -> str:
        held = self._held
        message_id = held.new_id("message")
        await self._append(ModelText(at=held.now(), step_id=held.new_id("step"), message_id=message_id))
        return message_id

    async def _begin_calls(self) -> str:
        """Completes the message that the turn began with, if any, and opens the step of its calls."""
        held = self._held
        step_id = held.new_id("step")
        self._texts = None
        await self._append(ModelCalls(at=held.now(), step_id=step_id, content=self.turn.content))
        return step_id
