"""The loop model -> tools -> model, for a run that this process holds the lease of.

What may happen is decided in `core/run/machine.py`, what the model is shown in `core/chat/context.py`; here things
are done in order: compose, ask, and for each thing that arrives decide, append, publish.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from msgspec import Struct

from understudy.core import errors
from understudy.core.chat.assemble import Turn, TurnTooLarge
from understudy.core.chat.budget import Corrections
from understudy.core.chat.citations import Citable
from understudy.core.chat.context import Prompt, Spent, compose, prompt_budget
from understudy.core.chat.made import images_unsaid
from understudy.core.chat.offers import Offer
from understudy.core.chat.step_calls import StepCalls
from understudy.core.ids import RunId
from understudy.core.limits import (
    CONFLICT_RETRIES_MAX,
    TURNS_PER_RUN_MAX,
    UPSTREAM_ATTEMPTS_MAX,
    UPSTREAM_RETRY_SECONDS,
    UPSTREAM_RETRY_SECONDS_MAX,
)
from understudy.core.run.inputs import Expire, Input, ModelFailed, ModelStopped, ModelTruncated, Stopped, WorkerLost
from understudy.core.run.machine import Superseded
from understudy.engine.attention import Attention, CalledAway
from understudy.engine.images import Images
from understudy.engine.journal import Journal
from understudy.engine.reply import Ending, HeldRun, Reply
from understudy.engine.tools import Room, Tools
from understudy.engine.window import load_window
from understudy.ports import (
    Bus,
    ChunkStream,
    Clock,
    Missing,
    ModelError,
    Models,
    NewId,
    SeqConflict,
    Store,
    StoredRun,
    StoreUnavailable,
    Tokens,
    ToolFailed,
)
from understudy.wire.chat import ChatRequest
from understudy.wire.runs import RunIncompleteReason, Usage

log = structlog.get_logger()

NO_FINISH = "The model server's answer ended without a finish reason."
NO_CALLS = "The model server announced tool calls and sent none that can be answered."
TOO_MANY_TURNS = f"The run took more than {TURNS_PER_RUN_MAX} model calls."


class _Prepared(Struct, frozen=True):
    """A model turn before it begins."""

    prompt: Prompt
    offers: Sequence[Offer]
    citable: Citable | None
    made: Mapping[str, str]
    images: Sequence[str]


class RunLoop:
    def __init__(
        self,
        store: Store,
        journal: Journal,
        bus: Bus,
        models: Models,
        tokens: Tokens,
        tools: Tools,
        images: Images,
        *,
        clock: Clock,
        new_id: NewId,
        retry_seconds: float = UPSTREAM_RETRY_SECONDS,
    ) -> None:
        """`retry_seconds` is the first pause before a busy model server is asked again; it doubles each time."""
        self._store = store
        self._journal = journal
        self._bus = bus
        self._models = models
        self._tokens = tokens
        self._tools = tools
        self._images = images
        self._clock = clock
        self._new_id = new_id
        self._retry_seconds = retry_seconds
        self._corrections = Corrections()

    async def work(self, stored: StoredRun, owner: str) -> None:
        """Works on a run in progress until it rests, or is no longer the owner's.

        When the task is cancelled, the lease is given back, so that another worker can go on at once.
        """
        attention = Attention(seconds=(stored.state.run.expires_at or 0) - self._clock())
        held = HeldRun(
            stored,
            owner,
            self._journal,
            self._bus,
            attention,
            clock=self._clock,
            new_id=self._new_id,
            count=self._tokens.count,
        )
        stop_listening = self._bus.on_interrupt(RunId(held.run.id), attention.call_away)
        try:
            while held.working:
                await self._turn(held)
            if held.dropped:
                self._bus.forget(RunId(held.run.id))
        except StoreUnavailable:
            # Nothing can be written, not even the failure. The lease runs out, and then the run is tried again.
            self._bus.forget(RunId(held.run.id))
            log.warning("run_left_to_its_lease", run_id=held.run.id, exc_info=True)
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_back(held))
            raise
        finally:
            stop_listening()
            attention.close()

    async def _turn(self, held: HeldRun) -> None:
        """One model turn, whatever becomes of it."""
        reply: Reply | None = None
        try:
            prepared = await self._prepare(held)
            if not isinstance(prepared, _Prepared):
                await held.append(prepared)
                return
            turn = Turn(
                new_call_id=lambda: self._new_id("call"),
                one_call=held.stored.settings.parallel_tool_calls is False,
                citable=prepared.citable,
                made=prepared.made,
                images=prepared.images,
            )
            reply = Reply(held, turn, StepCalls(held.stored.settings, prepared.offers), self._bus)
            await self._listen(prepared.prompt.request, reply, held.attention)
            await self._conclude(held, reply, prepared.prompt)
            if held.working and held.stored.state.step is not None:
                await self._tools.answer(held, reply, self._room(held, prepared.prompt))
        except (CalledAway, SeqConflict, Superseded, Missing):
            await self._let_go(held, reply)
        except (ModelError, ToolFailed) as error:
            log.info("turn_failed", run_id=held.run.id, code=error.code, reason=error.message)
            await self._fail(held, reply, ModelFailed(at=held.now(), code=error.code, message=error.message))
        except TurnTooLarge as error:
            await self._fail(held, reply, ModelFailed(at=held.now(), code="server_error", message=str(error)))
        except (asyncio.CancelledError, StoreUnavailable):
            raise
        except Exception:
            log.exception("run_crashed", run_id=held.run.id)
            await self._fail(held, reply, ModelFailed(at=held.now(), code="server_error", message=errors.SORRY))

    async def _prepare(self, held: HeldRun) -> "_Prepared | Input":
        """The request to send, or what ends the run before one. Raises `ToolFailed`, `CalledAway`."""
        state, settings = held.stored.state, held.stored.settings
        missing = self._tools.missing(settings)
        if missing is not None:
            message = f"This server does not have the tool '{missing}' yet; please run without it."
            return ModelFailed(at=held.now(), code="server_error", message=message)
        if state.progress.turns >= TURNS_PER_RUN_MAX:
            return ModelFailed(at=held.now(), code="server_error", message=TOO_MANY_TURNS)
        offers = await self._tools.offers(held.stored.project, held.run, settings)
        if offers and not state.progress.turns:
            await held.attention.wait(partial(self._tools.prepare, held.stored.project, held.run, settings))
        notes = await self._store.notes(RunId(held.run.id)) if offers and state.progress.turns else {}
        context_window = self._models.context_window(settings.model)
        correction = self._corrections.ratio(settings.model)
        window = await load_window(self._store, held.stored, context_window, correction, notes)
        composed = compose(
            run=state.run,
            settings=settings,
            turns=state.progress.turns,
            window=window,
            spent=state.progress.usage,
            correction=correction,
            context_window_tokens=context_window,
            count=lambda text: self._tokens.count(text, settings.model),
            offers=offers,
            images=await self._images.load(held.stored.project, window),
        )
        if isinstance(composed, Spent):
            return ModelTruncated(at=held.now(), reason=composed.reason)
        return _Prepared(
            composed,
            offers,
            citable=self._tools.citable(settings, notes),
            made=self._tools.made(settings, window, notes),
            images=images_unsaid(window.own),
        )

    def _room(self, held: HeldRun, prompt: Prompt) -> Room:
        """What the next prompt has left for the outputs of tools, when the thread's older messages give way."""
        state, model = held.stored.state, held.run.model
        context_window, correction = self._models.context_window(model), self._corrections.ratio(model)
        budget = prompt_budget(state.run, state.progress.usage, context_window, correction)
        return Room(
            tokens=budget - prompt.fixed,
            context_window_tokens=context_window,
            count=lambda text: self._tokens.count(text, model),
        )

    async def _listen(self, request: ChatRequest, reply: Reply, attention: Attention) -> None:
        """Passes the model's answer on while it arrives. Raises `ModelError`, `CalledAway`, `SeqConflict`."""
        stream = await self._open(request, attention)
        try:
            while not stream.over and (
                chunks := await attention.wait(lambda: stream.next(reply.take_now, reply.take_text))
            ):
                await reply.take(chunks, is_rest=stream.over)
            await reply.finish()
        finally:
            await stream.close()

    async def _open(self, request: ChatRequest, attention: Attention) -> ChunkStream:
        """Asks again for a while when the model server is busy or away."""
        pause = self._retry_seconds
        for _ in range(UPSTREAM_ATTEMPTS_MAX - 1):
            try:
                return await attention.wait(lambda: self._models.chat(request))
            except ModelError as error:
                seconds = error.retry_after or pause
                if not error.retryable or seconds > UPSTREAM_RETRY_SECONDS_MAX:
                    raise
                log.info("model_retried", reason=error.message, seconds=seconds)
            await attention.wait(partial(asyncio.sleep, seconds))
            pause *= 2
        return await attention.wait(lambda: self._models.chat(request))

    async def _conclude(self, held: HeldRun, reply: Reply, prompt: Prompt) -> None:
        turn = reply.turn
        if turn.late_characters:
            log.warning("text_after_calls_left_out", run_id=held.run.id, characters=turn.late_characters)
        verdict = turn.verdict()
        if verdict == "no_finish":
            raise ModelError(NO_FINISH)
        if not turn.calls and turn.finish_reason == "tool_calls":
            raise ModelError(NO_CALLS)
        # Also for a turn that was cut off without a word: its tokens were spent, and steps are what they are shown in.
        await reply.ensure_begun()
        usage = self._usage(held, prompt, reply)
        calls = reply.shown_calls
        happened: ModelStopped | ModelTruncated
        if verdict == "stopped":
            happened = ModelStopped(at=held.now(), content=turn.content, calls=calls, usage=usage)
        else:
            reason: RunIncompleteReason = "max_completion_tokens" if verdict == "truncated" else "content_filter"
            happened = ModelTruncated(at=held.now(), reason=reason, content=turn.content, calls=calls, usage=usage)
        await held.append(happened)

    def _count(self, held: HeldRun, text: str) -> int:
        return self._tokens.count(text, held.run.model) if text else 0

    def _usage(self, held: HeldRun, prompt: Prompt, reply: Reply) -> Usage:
        """What the model server reports; our estimate where it is silent, or the run's limits would mean nothing."""
        if reply.turn.usage_reported:
            usage = reply.turn.usage
            self._corrections.learn(held.run.model, estimated=prompt.tokens, reported=usage.prompt_tokens)
            return usage
        arguments = "".join(call.function.arguments for call in reply.turn.calls)
        completion = self._count(held, reply.text) + self._count(held, arguments)
        return Usage(prompt_tokens=prompt.tokens, completion_tokens=completion, total_tokens=prompt.tokens + completion)

    async def _fail(self, held: HeldRun, reply: Reply | None, failed: ModelFailed) -> None:
        try:
            await held.append(failed if reply is None else reply.with_remains(failed))
        except (SeqConflict, Superseded, Missing):
            await self._let_go(held, reply)

    async def _let_go(self, held: HeldRun, reply: Reply | None) -> None:
        """The run has moved on without this task: ends it as its row says, or leaves it to whoever has it now."""
        for _ in range(CONFLICT_RETRIES_MAX):
            if not await held.reload(self._store):
                return
            ending = self._ending(held)
            try:
                await held.append(ending if reply is None else reply.with_remains(ending))
            except (SeqConflict, Superseded, Missing):
                continue
            return
        held.drop()

    def _ending(self, held: HeldRun) -> Ending:
        now = held.now()
        if held.run.status == "cancelling":
            return Stopped(at=now)
        # The timer goes by a clock of its own, which may be ahead: its word counts too.
        if held.attention.time_is_over or (held.run.expires_at is not None and held.run.expires_at <= now):
            return Expire(at=now)
        return ModelFailed(at=now, code="server_error", message=errors.SORRY)

    async def _hand_back(self, held: HeldRun) -> None:
        """Lets the lease run out now. A run that cannot be written is taken over when it runs out by itself."""
        for _ in range(CONFLICT_RETRIES_MAX):
            try:
                # What this task was writing when it was cancelled is written all the same.
                if not await held.reload(self._store):
                    return
                if held.run.status == "cancelling":
                    # Not `Stopped`: what the open message says is not at hand, and an empty one must not stay.
                    await held.append(WorkerLost(at=held.now()))
                else:
                    await held.hand_back()
            except SeqConflict:
                continue
            except (Missing, StoreUnavailable) as refusal:
                log.info("run_not_handed_back", run_id=held.run.id, reason=repr(refusal))
            return
