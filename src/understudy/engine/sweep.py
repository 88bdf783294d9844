"""What must happen although nobody asks: runs whose time is over end as expired."""

import structlog

from understudy.engine.runs import Runs
from understudy.ports import Clock, Missing, Store

log = structlog.get_logger()

_BATCH = 100


class Sweep:
    def __init__(self, store: Store, runs: Runs, clock: Clock) -> None:
        self._store = store
        self._runs = runs
        self._clock = clock

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
