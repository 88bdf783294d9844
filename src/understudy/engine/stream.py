"""The event stream as a reader of a run's facts: live from the bus, and from the log where the bus has forgotten."""

from collections.abc import Sequence

from understudy.core.ids import RunId
from understudy.engine.frames import DISCARDED, logged_frame
from understudy.ports import Bus, Frame, LoggedFact, Store
from understudy.wire.events import RESTING

_LOG_PAGE = 500


class RunStream:
    """A run's frames behind the fact `after_seq`, up to and with the one behind which the run rests.

    There must be such facts: a stream that finds none takes the run for gone.
    """

    def __init__(self, store: Store, bus: Bus, run_id: RunId, *, after_seq: int = 0) -> None:
        self._store = store
        self._run_id = run_id
        self._follower = bus.follow(run_id)
        self._after_seq = after_seq
        # The number of the last fact handed out, and of the last one seen on the bus: a delta is new when they agree.
        self._given = after_seq
        self._seen: int | None = None
        # The log is read as far as the fact before this one, from where the bus goes on; to its end where that has none.
        self._next_on_bus = self._follower.held_from
        self._behind = self._next_on_bus is None or self._next_on_bus > after_seq + 1
        self._kept: Sequence[Frame] = ()  # frames of the bus behind a gap, until the log has filled it
        self.finished = False

    async def next(self) -> Sequence[bytes]:
        """The next frames, waiting for at least one. Empty: the stream is over; `finished` says if the run rests."""
        while not self.finished:
            if self._behind:
                logged = await self._missing()
                if not logged and self._behind:
                    return ()
                shown = self._from_log(logged)
            else:
                frames, self._kept = self._kept or await self._follower.next(), ()
                if not frames:
                    return ()
                shown = self._from_bus(frames)
            if shown:
                return shown
        return ()

    async def _missing(self) -> Sequence[LoggedFact]:
        """A page of what the log has and the bus has not. None, and still behind: the run's facts are gone."""
        count = None if self._next_on_bus is None else self._next_on_bus - self._given - 1
        limit = _LOG_PAGE if count is None else min(count, _LOG_PAGE)
        logged = await self._store.facts(self._run_id, after_seq=self._given, limit=limit)
        if count is not None:
            self._behind = len(logged) < count
        elif logged or self._given > self._after_seq:
            self._behind = len(logged) == limit
        return logged

    def _from_log(self, logged: Sequence[LoggedFact]) -> list[bytes]:
        shown: list[bytes] = []
        for fact in logged:
            if self.finished:
                break
            self._give(logged_frame(fact), fact.seq, shown)
        return shown

    def _from_bus(self, frames: Sequence[Frame]) -> list[bytes]:
        shown: list[bytes] = []
        for place, frame in enumerate(frames):
            if self.finished:
                break
            if frame.seq is None:
                if self._seen == self._given:
                    shown.append(frame.data)
            elif frame.seq > self._given + 1:
                self._behind, self._next_on_bus, self._kept = True, frame.seq, frames[place:]
                break
            else:
                self._seen = frame.seq
                if frame.seq > self._given:
                    self._give(frame, frame.seq, shown)
        return shown

    def _give(self, frame: Frame, seq: int, shown: list[bytes]) -> None:
        self._given = seq
        if frame.event != DISCARDED:
            shown.append(frame.data)
        self.finished = frame.event in RESTING

    def close(self) -> None:
        self._follower.close()
