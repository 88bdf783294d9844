"""Takes files that are to be indexed, by lease, and indexes them; the row is the job, as it is with runs."""

import asyncio
import contextlib

import structlog

from understudy.core.limits import LEASE_RENEW_SECONDS, LEASE_SECONDS, SWEEP_SECONDS
from understudy.engine.ingest import Ingest
from understudy.ports import Clock, IngestJob, StoreUnavailable, VectorRows
from understudy.worker.chores import forever

__all__ = ["Indexer"]

log = structlog.get_logger()


class Indexer:
    """That many `places`: files at a time; without any it does nothing. Belongs to one event loop.

    Files that another process attached, or whose worker was lost, are looked for every `look_seconds`.
    """

    def __init__(
        self,
        store: VectorRows,
        ingest: Ingest,
        clock: Clock,
        *,
        owner: str,
        places: int,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = LEASE_RENEW_SECONDS,
        look_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.owner = owner
        self._store = store
        self._ingest = ingest
        self._clock = clock
        self._places = places
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._look_seconds = look_seconds
        self._working: dict[int, asyncio.Task[None]] = {}
        self._chores: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """A file was attached."""
        self._woken.set()

    def start(self) -> None:
        if self._places > 0:
            self._chores = [
                asyncio.create_task(self._forever("claim_files"), name="claim_files"),
                asyncio.create_task(self._forever("renew_files"), name="renew_files"),
            ]

    async def stop(self) -> None:
        """Takes nothing new, and gives back what is being worked on."""
        self._stopping = True
        self.wake()
        if not self._chores:
            return
        claim, renew = self._chores
        renew.cancel()
        # A claim that is being written is waited for, so that its files are given back with the rest.
        await asyncio.gather(claim, renew, return_exceptions=True)
        working = dict(self._working)
        for task in working.values():
            task.cancel()
        await asyncio.gather(*working.values(), return_exceptions=True)
        if working:
            with contextlib.suppress(StoreUnavailable):  # then their leases run out
                await self._store.release_ingest(self.owner, list(working))

    # --- within

    async def _forever(self, name: str) -> None:
        chore = self._claim_when_woken if name == "claim_files" else self._renew_after_a_while
        await forever(name, chore, stopping=lambda: self._stopping, pause_seconds=self._look_seconds)

    async def _claim_when_woken(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._look_seconds):
                await self._woken.wait()
        self._woken.clear()
        room = self._places - len(self._working)
        if self._stopping or room <= 0:
            return
        now = self._clock()
        for job in await self._store.claim_ingest(self.owner, now, now + self._lease_seconds, limit=room):
            self._take(job)

    def _take(self, job: IngestJob) -> None:
        if (older := self._working.get(job.generation)) is not None:
            # Its lease could not be renewed in time, and this process took it from itself.
            older.cancel()
        task = asyncio.create_task(self._ingest.index(job, self.owner), name=f"index {job.stored.file.id}")
        self._working[job.generation] = task
        task.add_done_callback(lambda done: self._put_down(job.generation, done))

    def _put_down(self, generation: int, done: "asyncio.Task[None]") -> None:
        if self._working.get(generation) is done:
            del self._working[generation]
            self.wake()  # there is room for another
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("file_dropped", exc_info=error)

    async def _renew_after_a_while(self) -> None:
        await asyncio.sleep(self._renew_seconds)
        asked = dict(self._working)
        if asked:
            until = self._clock() + self._lease_seconds
            kept = set(await self._store.renew_ingest(self.owner, list(asked), until))
            for generation, task in asked.items():
                if generation not in kept:
                    task.cancel()
