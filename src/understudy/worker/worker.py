"""Takes runs by lease and works on them, keeps the leases alive, and sweeps.

The run row is the job. A request of this process may reserve a place first, so that its run begins without a detour;
everything else (runs of other processes, runs whose worker was lost) is found by looking at the rows after a wake-up.
Who goes first then is said in `turns`; docs/scale-out.md tells of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from understudy.core.ids import ProjectId, RunId
from understudy.core.limits import (
    CONFLICT_RETRIES_MAX,
    HELD_BACK_LOOK_SECONDS,
    LEASE_RENEW_SECONDS,
    LEASE_SECONDS,
    LINES_LOOKED_AT,
    PRUNE_SECONDS,
    SWEEP_SECONDS,
)
from understudy.core.run.inputs import Claim, WorkerLost
from understudy.core.run.machine import Superseded, decide
from understudy.engine.bounds import RunBounds, line_of
from understudy.engine.journal import Journal
from understudy.engine.run_loop import RunLoop
from understudy.engine.sweep import Sweep
from understudy.ports import (
    Bus,
    Clock,
    Lease,
    Line,
    Missing,
    NoPlace,
    RunInLine,
    SeqConflict,
    Share,
    Store,
    StoredRun,
)
from understudy.worker.chores import forever
from understudy.worker.turns import Turns

log = structlog.get_logger()


class Worker:
    """A desk of `places`: that many runs at a time. Without any it only sweeps. Belongs to one event loop.

    A lease is for `lease_seconds`, renewed every `renew_seconds`; queued runs of other processes, runs whose lease ran
    out and runs whose time is over are looked for every `sweep_seconds`, old facts every `prune_seconds`.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        bus: Bus,
        clock: Clock,
        *,
        owner: str,
        places: int,
        bounds: RunBounds | None = None,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = LEASE_RENEW_SECONDS,
        sweep_seconds: float = SWEEP_SECONDS,
        prune_seconds: float = PRUNE_SECONDS,
    ) -> None:
        self.owner = owner
        self._store = store
        self._journal = journal
        self._bus = bus
        self._clock = clock
        self._places = places
        self._bounds = bounds or RunBounds()
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._sweep_seconds = sweep_seconds
        self._prune_seconds = prune_seconds
        self._reserved = 0
        self._working: dict[RunId, asyncio.Task[None]] = {}
        self._turns = Turns()
        self._behind = False  # since this worker was full: runs may be in line that a request must not overtake
        self._held_back: set[Line] = set()  # lines that waited for a bound when they were looked at last
        self._looked_at: Line | None = None  # the last one, where there were more
        self._looking = False
        self._look_for_lost_at = 0.0
        self._chores: list[asyncio.Task[None]] = []
        self._loop: RunLoop | None = None
        self._stopping = False

    # --- the desk: what requests of this process use

    def reserve(self, share: Share | None) -> Lease | None:
        if self._loop is None or self._behind or (share is not None and line_of(share) in self._held_back):
            return None
        if self._room() <= 0:
            self._behind = True
            return None
        self._reserved += 1
        return self._lease()

    def begin(self, stored: StoredRun) -> None:
        self._reserved -= 1
        if self._stopping:
            log.warning("run_left_to_its_lease", run_id=stored.state.run.id)
        else:
            self._take(stored)

    def release(self) -> None:
        with self._making_room():
            self._reserved -= 1

    # --- life

    def start(self, loop: RunLoop, sweep: Sweep) -> None:
        self._loop = loop
        self._chores = [
            asyncio.create_task(self._forever("claim", self._claim_when_woken), name="claim"),
            asyncio.create_task(self._forever("renew", self._renew_after_a_while), name="renew"),
            asyncio.create_task(self._forever("sweep", lambda: self._sweep_after_a_while(sweep)), name="sweep"),
            asyncio.create_task(self._forever("prune", lambda: self._prune_after_a_while(sweep)), name="prune"),
        ]

    async def stop(self) -> None:
        """Takes nothing new and hands on what is being worked on."""
        self._stopping = True
        self._bus.wake()
        claim, *others = self._chores
        for chore in others:
            chore.cancel()
        # A claim that is being written is waited for, so that its run is handed on with the rest.
        await asyncio.gather(claim, *others, return_exceptions=True)
        for task in self._working.values():
            task.cancel()
        await asyncio.gather(*self._working.values(), return_exceptions=True)

    # --- within

    def _room(self) -> int:
        return 0 if self._stopping else self._places - self._reserved - len(self._working)

    @contextmanager
    def _making_room(self) -> Iterator[None]:
        """Wakes the claim, here and elsewhere, if runs may have been left in line for want of this room."""
        was_full = self._room() <= 0
        yield
        if was_full:
            self._behind = True
        if was_full or self._held_back or (self._looking and self._bounds.there_are):
            self._bus.wake()

    def _lease(self) -> Lease:
        return Lease(owner=self.owner, until=self._clock() + self._lease_seconds)

    def _take(self, stored: StoredRun) -> None:
        assert self._loop is not None
        run_id = RunId(stored.state.run.id)
        if run_id in self._working:
            return  # written so slowly that its lease ran out, and this worker's own claim found it first
        task = asyncio.create_task(self._loop.work(stored, self.owner), name=run_id)
        self._working[run_id] = task
        self._turns.begin(stored.project)
        task.add_done_callback(lambda done: self._put_down(run_id, stored.project, done))

    def _put_down(self, run_id: RunId, project: ProjectId, done: asyncio.Task[None]) -> None:
        self._turns.end(project)
        if self._working.get(run_id) is done:
            with self._making_room():
                del self._working[run_id]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("run_dropped", run_id=run_id, exc_info=error)

    async def _claim_when_woken(self) -> None:
        seconds = min(self._sweep_seconds, HELD_BACK_LOOK_SECONDS) if self._held_back else self._sweep_seconds
        await self._bus.wait_for_work(seconds)
        self._looking = True
        try:
            await self._take_over_lost()
            await self._take_in_turn()
        finally:
            self._looking = False

    async def _take_over_lost(self) -> None:
        """Looks at all runs that are worked on, so not at each wake-up: leases run out by the clock."""
        now = asyncio.get_running_loop().time()
        room = self._room()
        if room <= 0 or now < self._look_for_lost_at:
            return
        self._look_for_lost_at = now + self._sweep_seconds / 2
        # Our own are among them where their leases could not be renewed in time: they must not hide the others.
        found = await self._store.lost(self._clock(), limit=room + len(self._working))
        for run_id in found:
            await self._claim(run_id)

    async def _take_in_turn(self) -> None:
        losses = 0
        while self._room() > 0 and losses < CONFLICT_RETRIES_MAX:
            heads = await self._look()
            if not heads:
                self._behind = False
                return
            claims = [await self._claim(head.run_id) for head in self._turns.next(heads)]
            # What others took first is no longer in line: the next look shows who is.
            losses = 0 if any(claims) else losses + 1

    async def _look(self) -> Sequence[RunInLine]:
        """Runs that may begin, each the first of its line: some of them, and none only if there is none in any line."""
        goes_round, held_back = self._looked_at is not None, set[Line]()
        while True:
            found = await self._store.in_line(
                self._clock(), limit=LINES_LOOKED_AT, bounds=self._bounds.bounds, behind=self._looked_at
            )
            held_back |= {head.line for head in found if not head.has_place}
            self._looked_at = found[-1].line if len(found) == LINES_LOOKED_AT else None
            if heads := [head for head in found if head.has_place]:
                self._held_back = held_back | self._held_back - {head.line for head in heads}
                return heads
            if self._looked_at is None:
                if not goes_round:
                    self._held_back = held_back
                    return ()
                goes_round = False

    async def _claim(self, run_id: RunId) -> bool:
        """Takes the run if nobody else does first: of two workers that try, one append is refused.

        Whether it moved on by this.
        """
        stored = await self._store.run(run_id)
        if stored is None or run_id in self._working or self._room() <= 0:
            return False
        if stored.lease is not None and stored.lease.until > self._clock():
            return False  # somebody took it since it was found
        share = self._bounds.share(stored.project, stored.settings.model)
        self._reserved += 1
        try:
            claimed = await self._claimed(stored, share)
        except (SeqConflict, Superseded, Missing):
            return False
        except NoPlace:
            assert share is not None
            self._held_back.add(line_of(share))
            return False
        finally:
            self._reserved -= 1
        if claimed.state.run.status == "in_progress":
            self._take(claimed)
        return True

    async def _claimed(self, stored: StoredRun, share: Share | None) -> StoredRun:
        now = int(self._clock())
        if stored.state.run.status == "queued":
            decision = decide(stored.state, Claim(at=now))
            return await self._journal.append(stored, decision, lease=self._lease(), share=share)
        # Naming the lost owner makes the second of two workers that take the run over lose, also without a new fact.
        lost = None if stored.lease is None else stored.lease.owner
        decision = decide(stored.state, WorkerLost(at=now))
        log.warning("run_taken_over", run_id=stored.state.run.id, lost=lost)
        goes_on = decision.after.run.status == "in_progress"
        return await self._journal.append(stored, decision, owner=lost, lease=self._lease() if goes_on else None)

    async def _renew_after_a_while(self) -> None:
        await asyncio.sleep(self._renew_seconds)
        asked = dict(self._working)
        if asked:
            kept = set(await self._store.renew(self.owner, list(asked), self._lease().until))
            for run_id, task in asked.items():
                # With another task by now the run has rested meanwhile, and was begun again under a new lease.
                if run_id not in kept and self._working.get(run_id) is task:
                    self._bus.interrupt(run_id)

    async def _sweep_after_a_while(self, sweep: Sweep) -> None:
        await asyncio.sleep(self._sweep_seconds)
        await sweep.once()

    async def _prune_after_a_while(self, sweep: Sweep) -> None:
        await asyncio.sleep(self._prune_seconds)
        await sweep.prune()

    async def _forever(self, name: str, chore: Callable[[], Awaitable[None]]) -> None:
        await forever(name, chore, stopping=lambda: self._stopping, pause_seconds=self._sweep_seconds)
