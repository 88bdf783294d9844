"""What must happen although nobody asks: what is due expires, and what is no longer kept is let go."""

import structlog

from understudy.core.limits import FACTS_KEEP_SECONDS, FACTS_PRUNED_MAX
from understudy.engine.files import Files
from understudy.engine.runs import Runs
from understudy.ports import Clock, Missing, Store

log = structlog.get_logger()

_BATCH = 100


class Sweep:
    """The facts of a run that has ended are kept for `facts_keep_seconds`."""

    def __init__(
        self,
        store: Store,
        runs: Runs,
        files: Files,
        clock: Clock,
        *,
        facts_keep_seconds: int = FACTS_KEEP_SECONDS,
    ) -> None:
        self._store = store
        self._runs = runs
        self._files = files
        self._clock = clock
        self._facts_keep_seconds = facts_keep_seconds

    async def once(self) -> int:
        """Ends all runs that are due; how many there were. Those under a live lease are their worker's to end."""
        ended = 0
        while due := await self._store.expired(int(self._clock()), limit=_BATCH):
            for run_id in due:
                try:
                    await self._runs.expire(run_id)
                except Missing:
                    log.debug("run_gone", run_id=run_id)
            ended += len(due)
            if len(due) < _BATCH:
                break
        return ended

    async def prune(self) -> None:
        """Deletes what is no longer kept, in short transactions: others write between them.

        That is facts, files, and what of vector stores nobody can reach any more.
        """
        ended_by = int(self._clock()) - self._facts_keep_seconds
        while await self._store.prune(ended_by, limit=FACTS_PRUNED_MAX):
            pass
        await self._files.sweep()
        while await self._store.expire_vector_stores(int(self._clock()), limit=_BATCH) == _BATCH:
            pass
        while await self._store.prune_index():
            pass
