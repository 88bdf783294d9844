"""The event stream as a reader of a run's facts: live from the bus, and from the log where the bus has forgotten."""

from collections.abc import Sequence

from understudy.core.ids import RunId
from understudy.engine.frames import DISCARDED, logged_frame
from understudy.ports import Bus, Frame, Store
from understudy.wire.events import RESTING

_LOG_PAGE = 500


class RunStream:
    """A run's frames behind the fact `after_seq`, up to and with the one behind which the run rests."""

    def __init__(self, store: Store, bus: Bus, run_id: RunId, *, after_seq: int = 0) -> None:
        self._store = store
        self._run_id = run_id
        self._follower = bus.follow(run_id)
        # The number of the last fact handed out, and of the last one passed on the bus: a delta is new when they agree.
        self._given = after_seq
        self._passed: int | None = None
        self._caught_up = False
        self.finished = False

    async def next(self) -> Sequence[bytes]:
        """The next frames, waiting for at least one. Empty: the stream is over; `finished` says if the run rests."""
        while not self.finished:
            frames = await self._read()
            if not frames:
                return ()
            shown = self._take(frames)
            if shown:
                return shown
        return ()

    async def _read(self) -> Sequence[Frame]:
        if not self._caught_up:
            held = self._follower.held_from
            if held is None or held > self._given + 1:
                logged = await self._store.facts(self._run_id, after_seq=self._given, limit=_LOG_PAGE)
                self._caught_up = len(logged) < _LOG_PAGE
                if logged:
                    return [logged_frame(fact) for fact in logged]
            self._caught_up = True
        return await self._follower.next()

    def _take(self, frames: Sequence[Frame]) -> list[bytes]:
        shown: list[bytes] = []
        for frame in frames:
            if frame.seq is None:
                if self._passed == self._given:
                    shown.append(frame.data)
                continue
            self._passed = frame.seq
            if frame.seq <= self._given:
                continue
            self._given = frame.seq
            if frame.event == DISCARDED:
                continue
            shown.append(frame.data)
            if frame.event in RESTING:
                self.finished = True
                break
        return shown

    def close(self) -> None:
        self._follower.close()
