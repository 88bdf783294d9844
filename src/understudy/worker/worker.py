"""Takes runs by lease and works on them, keeps the leases alive, and sweeps.

The run row is the job. A request of this process may reserve a place first, so that its run begins without a detour;
everything else (runs of other processes, runs whose worker was lost) is found by looking at the rows after a wake-up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

from understudy.core.ids import RunId
from understudy.core.limits import LEASE_RENEW_SECONDS, LEASE_SECONDS, PRUNE_SECONDS, SWEEP_SECONDS
from understudy.core.run.inputs import Claim, WorkerLost
from understudy.core.run.machine import Superseded, decide
from understudy.engine.journal import Journal
from understudy.engine.run_loop import RunLoop
from understudy.engine.sweep import Sweep
from understudy.ports import Bus, Clock, Lease, Missing, SeqConflict, Store, StoredRun
from understudy.worker.chores import forever

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
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._sweep_seconds = sweep_seconds
        self._prune_seconds = prune_seconds
        self._reserved = 0
        self._working: dict[RunId, asyncio.Task[None]] = {}
        self._chores: list[asyncio.Task[None]] = []
        self._loop: RunLoop | None = None
        self._stopping = False

    # --- the desk: what requests of this process use

    def reserve(self) -> Lease | None:
        if self._loop is None or self._room() <= 0:
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
        """Wakes the claim if there was no room before: runs may have been left in the queue."""
        was_full = self._room() <= 0
        yield
        if was_full:
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
        task.add_done_callback(lambda done: self._put_down(run_id, done))

    def _put_down(self, run_id: RunId, done: asyncio.Task[None]) -> None:
        if self._working.get(run_id) is done:
            with self._making_room():
                del self._working[run_id]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("run_dropped", run_id=run_id, exc_info=error)

    async def _claim_when_woken(self) -> None:
        await self._bus.wait_for_work(self._sweep_seconds)
        while (room := self._room()) > 0:
            # Our own are among them where their leases could not be renewed in time: they must not hide the others.
            found = await self._store.claimable(self._clock(), limit=room + len(self._working))
            claims = [await self._claim(run_id) for run_id in found if run_id not in self._working]
            if not any(claims):
                return

    async def _claim(self, run_id: RunId) -> bool:
        """Takes the run if nobody else does first: of two workers that try, one append is refused.

        Whether it moved on by this.
        """
        stored = await self._store.run(run_id)
        if stored is None or self._room() <= 0:
            return False
        if stored.lease is not None and stored.lease.until > self._clock():
            return False  # somebody took it since it was found
        self._reserved += 1
        try:
            claimed = await self._claimed(stored)
        except (SeqConflict, Superseded, Missing):
            return False
        finally:
            self._reserved -= 1
        if claimed.state.run.status == "in_progress":
            self._take(claimed)
        return True

    async def _claimed(self, stored: StoredRun) -> StoredRun:
        now = int(self._clock())
        if stored.state.run.status == "queued":
            return await self._journal.append(stored, decide(stored.state, Claim(at=now)), lease=self._lease())
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
