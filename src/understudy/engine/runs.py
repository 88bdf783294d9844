"""What clients do to runs: start, submit outputs, cancel.

Each is load, decide, append, and again on a conflict; the load is what finds a thread that was deleted meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from understudy.core import errors
from understudy.core.ids import ProjectId, RunId
from understudy.core.limits import CONFLICT_RETRIES_MAX, LOG_LOOK_SECONDS
from understudy.core.run.inputs import Cancel, Claim, Create, Expire, Input, ToolOutputs, WorkerLost
from understudy.core.run.machine import ACTIVE, RESTS, Decision, decide
from understudy.core.run.state import Fact, RunFact, RunSettings, RunState
from understudy.engine.bounds import RunBounds
from understudy.engine.journal import Journal
from understudy.ports import (
    Attached,
    Bus,
    Clock,
    Follower,
    Lease,
    Missing,
    NewRun,
    NoPlace,
    SeqConflict,
    Share,
    Store,
    StoredMessage,
    StoredRun,
)
from understudy.wire.events import RESTING
from understudy.wire.runs import Run, ToolOutput
from understudy.wire.threads import Thread


class Desk(Protocol):
    """The worker of this process, as far as a request needs it: a place for a run to be worked on at once."""

    def reserve(self, share: Share | None) -> Lease | None:
        """A place, with the lease to write; `None` when there is no room, or others are in line for it."""

    def begin(self, stored: StoredRun) -> None:
        """Works on the run, which was written with a reserved lease."""

    def release(self) -> None:
        """Gives a reserved place back unused."""


class Moved(Struct, frozen=True):
    """A run as its request's answer shows it, and the number of the last fact before the request changed it."""

    run: Run
    after_seq: int


class Runs:
    def __init__(
        self, store: Store, journal: Journal, bus: Bus, desk: Desk, clock: Clock, bounds: RunBounds | None = None
    ) -> None:
        self._store = store
        self._journal = journal
        self._bus = bus
        self._desk = desk
        self._clock = clock
        self._bounds = bounds or RunBounds()

    async def start(
        self,
        project: ProjectId,
        run: Run,
        settings: RunSettings,
        *,
        messages: tuple[StoredMessage, ...] = (),
        attached: Attached | None = None,
        thread: Thread | None = None,
        queue: bool = False,
    ) -> Moved:
        """Writes the run, queued, and has it worked on. Raises what `Store.add_run` raises.

        `queue`: a run on a busy thread waits until the runs before it have ended, and is not refused.
        """
        created = decide(RunState(run=run), Create(at=run.created_at))
        share = self._bounds.share(project, settings.model)

        def write(lease: Lease | None) -> Awaitable[StoredRun]:
            decision = created if lease is None else _then(created, Claim(at=run.created_at))
            new = NewRun(
                project=project,
                state=decision.after,
                settings=settings,
                facts=decision.facts,
                messages=messages,
                attached=attached,
                thread=thread,
                lease=lease,
                if_busy=created if queue else None,
                share=share,
            )
            return self._journal.begin(new)

        await self._hand_over(share, write)
        return Moved(created.after.run, 0)

    async def submit(self, project: ProjectId, thread_id: str, run_id: str, outputs: tuple[ToolOutput, ...]) -> Moved:
        """Answers the open calls. Raises `errors.Conflict`, `errors.NotFound`."""
        for _ in range(CONFLICT_RETRIES_MAX):
            stored = await self._current(project, thread_id, run_id)
            answered = decide(stored.state, ToolOutputs(at=self._now(), outputs=outputs))
            share = self._bounds.share(project, stored.settings.model)
            try:
                await self._hand_over(share, partial(self._write_answered, stored, answered, share))
            except (SeqConflict, Missing):
                continue
            return Moved(answered.after.run, stored.seq)
        raise errors.Unavailable("The run is changing too fast; please try again.")

    async def cancel(self, project: ProjectId, thread_id: str, run_id: str) -> Run:
        """The run, `cancelling`. Raises `errors.Conflict`, `errors.NotFound`."""
        for _ in range(CONFLICT_RETRIES_MAX):
            stored = await self._current(project, thread_id, run_id)
            decision = decide(stored.state, Cancel(at=self._now()))
            at_rest = decision.after.run.status not in ACTIVE
            try:
                await self._journal.append(stored, decision, lease=None if at_rest else "keep")
            except (SeqConflict, Missing):
                continue
            self._bus.interrupt(RunId(run_id))
            return _first_run(decision.facts)
        raise errors.Unavailable("The run is changing too fast; please try again.")

    async def expire(self, run_id: RunId) -> None:
        """Ends a run whose time is over, unless somebody else just changed it."""
        stored = await self._store.run(run_id)
        if stored is not None and _is_over(stored.state.run, self._now()):
            await self._expire(stored)

    async def until_rest(self, project: ProjectId, thread_id: str, run_id: str, *, seconds: float) -> None:
        """Returns when the run rests, or after `seconds`. Raises `errors.NotFound`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        follower = self._bus.follow(RunId(run_id))
        try:
            # Looked at after following, so that a rest between the two is seen in the row; and again after a silence,
            # for the bus hears nothing of a run that another process works on.
            while (await self.load(project, thread_id, run_id)).state.run.status not in RESTS:
                left = min(until - loop.time(), LOG_LOOK_SECONDS)
                if left <= 0 or not await _rests_within(follower, left):
                    return
        finally:
            follower.close()

    async def load(self, project: ProjectId, thread_id: str, run_id: str) -> StoredRun:
        """Raises `errors.NotFound` for a run that this project, or this thread, does not have."""
        stored = await self._store.run(RunId(run_id))
        if stored is None or stored.project != project or stored.state.run.thread_id != thread_id:
            if not await self._store.thread_exists(project, thread_id):
                raise errors.no_such("thread", thread_id)
            raise errors.no_such("run", run_id)
        return stored

    async def _current(self, project: ProjectId, thread_id: str, run_id: str) -> StoredRun:
        """The run, after its expiry if that was due: a late client meets `expired`, not a race with the sweeper."""
        stored = await self.load(project, thread_id, run_id)
        if stored.state.run.status == "requires_action" and _is_over(stored.state.run, self._now()):
            await self._expire(stored)
            return await self.load(project, thread_id, run_id)
        return stored

    async def _expire(self, stored: StoredRun) -> None:
        now = self._now()
        # Nobody is left who knows what an open message says: without it the thread has no empty one.
        lost = stored.state.step is not None and stored.state.run.status != "requires_action"
        decision = decide(stored.state, WorkerLost(at=now) if lost else Expire(at=now))
        if lost and decision.after.run.status in ACTIVE:
            decision = _then(decision, Expire(at=now))
        try:
            await self._journal.append(stored, decision, lease=None)
        except (SeqConflict, Missing):
            return
        # A worker may have it still: after a machine's sleep its lease is dead, while its timer has slept as well.
        self._bus.interrupt(RunId(stored.state.run.id))

    def _write_answered(
        self, stored: StoredRun, answered: Decision, share: Share | None, lease: Lease | None
    ) -> Awaitable[StoredRun]:
        if lease is None:
            return self._journal.append(stored, answered, lease=None)
        return self._journal.append(stored, _then(answered, Claim(at=self._now())), lease=lease, share=share)

    async def _hand_over(self, share: Share | None, write: Callable[[Lease | None], Awaitable[StoredRun]]) -> None:
        """Has the run written and worked on: under a lease if there is a place for it here, else by whoever has one.

        Finishes the write although its request may be dropped: a run that was written must be worked on.
        """
        await asyncio.shield(self._write_and_hand_over(share, write))

    async def _write_and_hand_over(
        self, share: Share | None, write: Callable[[Lease | None], Awaitable[StoredRun]]
    ) -> None:
        lease = self._desk.reserve(share)
        if lease is not None:
            try:
                stored = await write(lease)
            except NoPlace:
                self._desk.release()
            except BaseException:
                self._desk.release()
                raise
            else:
                if stored.lease is None:  # it waits for its thread
                    self._desk.release()
                else:
                    self._desk.begin(stored)
                return
        await write(None)
        self._bus.wake()

    def _now(self) -> int:
        return int(self._clock())


async def _rests_within(follower: Follower, seconds: float) -> bool:
    """Waits for a rest on the bus, a nudge or a silence of it: then the row is worth a look. False: it is closed."""
    try:
        async with asyncio.timeout(seconds):
            while frames := await follower.next():
                if any(frame.event in RESTING for frame in frames):
                    return True
    except TimeoutError:
        return True
    return not follower.closed


def _then(decision: Decision, happened: Input) -> Decision:
    following = decide(decision.after, happened)
    return Decision((*decision.facts, *following.facts), following.after)


def _first_run(facts: Sequence[Fact]) -> Run:
    return next(fact.run for fact in facts if isinstance(fact, RunFact))


def _is_over(run: Run, now: int) -> bool:
    return run.status in ACTIVE and run.expires_at is not None and run.expires_at <= now
