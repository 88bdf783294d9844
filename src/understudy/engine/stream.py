"""The event stream as a reader of a run's facts: live from the bus, and from the log where the bus has forgotten."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from understudy.core.ids import RunId
from understudy.core.limits import FACTS_PAGE, LOG_LOOK_SECONDS
from understudy.core.run.machine import TERMINAL
from understudy.core.run.state import DISCARDED
from understudy.engine.position import Position
from understudy.engine.replay import LEFT_OUT, replay, settled
from understudy.ports import Bus, Frame, LoggedFact, Store
from understudy.wire.events import RESTING
from understudy.wire.steps import RunStep

START = Position()


class RunStream:
    """A run's frames behind a position, up to and with the one behind which the run rests; each with its `id:`.

    Deltas have no numbers of their own: each reader counts those that follow a fact, and all come to the same.
    """

    def __init__(self, store: Store, bus: Bus, run_id: RunId, *, after: Position = START) -> None:
        self._store = store
        self._bus = bus
        self._run_id = run_id
        self._follower = bus.follow(run_id)
        self._given = after
        self._passed = START  # where the bus is: the last fact that came by, and how many deltas since
        self._left_out: set[int] = set()  # facts that belong to what was discarded, as the log tells
        self._open_step: RunStep | None = None  # the one that the run rested with when the log was read
        self._begun = False
        self._heard = True
        self._timer = asyncio.get_running_loop().call_later(LOG_LOOK_SECONDS, self._listen)
        self.finished = False
        self.begun_anew = False

    async def next(self, write: Callable[[bytes], bool] | None = None) -> Sequence[bytes]:
        """The next frames, waiting for at least one. Empty: the stream is over.

        Then `finished` says that the run rests, `begun_anew` that an answer whose beginning was shown was discarded.
        What comes while it waits is offered to `write` first, where whoever made it publishes it: no task is woken for
        frames that it answers `True` to. The last ones are given here in any case.
        """
        take = None if write is None else partial(self._pass_on, write)
        while not (self.finished or self.begun_anew):
            if not self._begun:
                self._begun = True
                shown = await self._beginning()
            else:
                frames = await self._follower.next(take)
                if frames:
                    self._heard = True
                    shown = await self._take(frames)
                elif self._follower.closed:
                    return ()
                else:
                    shown = await self._from_elsewhere()
            if shown:
                return shown
        return ()

    async def _beginning(self) -> list[bytes]:
        """What the bus no longer has."""
        held = self._follower.held_from
        if held is not None and held <= self._given.seq + 1:
            return []
        return await self._from_elsewhere() if held is None else self._from_log(await self._facts(), held)

    async def _close_if_gone(self) -> None:
        """Nothing will ever come of a run that was deleted meanwhile, or that ended and has lost its facts since."""
        stored = await self._store.run(self._run_id)
        # Looked at again: the run may have ended between the first look and now.
        if stored is None or (stored.state.run.status in TERMINAL and not await self._facts()):
            self.close()

    def _pass_on(self, write: Callable[[bytes], bool], frames: Sequence[Frame]) -> bool:
        """Whether all of these were written: they go on where the reader is, the run does not rest with them."""
        given = self._given
        if self._passed is not given and self._passed != given:
            return False
        seq, deltas = given.seq, given.deltas
        if len(frames) == 1 and (frame := frames[0]).seq is None:  # nearly always: in as few calls as will do
            if not write(b"id: %d.%d\n%b" % (seq, deltas + 1, frame.data)):
                return False
            self._heard = True
            self._given = self._passed = Position(seq, deltas + 1)
            return True
        if frames[-1].event in RESTING:
            return False
        shown = []
        for frame in frames:
            if frame.seq is None:
                deltas += 1
            elif frame.seq == seq + 1 and frame.event not in RESTING and frame.event != DISCARDED:
                seq, deltas = frame.seq, 0
            else:
                return False
            shown.append(_with_id(seq, deltas, frame))
        if not write(b"".join(shown)):
            return False
        self._heard = True
        self._given = self._passed = Position(seq, deltas)
        return True

    async def _take(self, frames: Sequence[Frame]) -> list[bytes]:
        """What is new of the bus's frames. A gap between them and what was given is filled from the log."""
        shown: list[bytes] = []
        for frame in frames:
            if frame.seq is None:
                self._passed = Position(self._passed.seq, self._passed.deltas + 1)
                if self._passed.seq != self._given.seq:
                    continue
            else:
                self._passed = Position(frame.seq)
                if frame.seq > self._given.seq + 1:
                    shown += self._from_log(await self._facts(), frame.seq)
                    if self.finished or self.begun_anew:
                        break
                    if frame.seq > self._given.seq + 1:
                        self.close()  # the log has lost them too: the run was deleted, or ended long ago
                        break
            if self._passed > self._given:
                self._given = self._passed
                if frame.event != DISCARDED:
                    shown.append(self._shown(frame))
                elif frame.seq not in self._left_out:
                    self.begun_anew = True  # its beginning was shown, and cannot be unsaid
            if self.finished or self.begun_anew:
                break
        return shown

    def _listen(self) -> None:
        """Breaks a silence of the bus, which ends with the process: another one may be working on the run.

        One timer a stream, however many frames come: a time-out for each wait would be felt on every token.
        """
        if not self._heard:
            self._follower.nudge()
        self._heard = False
        self._timer = asyncio.get_running_loop().call_later(LOG_LOOK_SECONDS, self._listen)

    async def _from_elsewhere(self) -> list[bytes]:
        """What the log has that the bus never had."""
        facts = settled(await self._facts())
        if not facts:
            await self._close_if_gone()
        return self._from_log(facts, None)

    def _from_log(self, facts: Sequence[LoggedFact], until: int | None) -> list[bytes]:
        """What the log has, as far as the fact before `until`, from where the bus goes on; to its end without one."""
        shown: list[bytes] = []
        deltas: list[Frame] = []  # each stands before the fact that tells it whole
        for frame in replay(facts, self._open_step):
            if frame.seq is None:
                deltas.append(frame)
                continue
            if frame.event == LEFT_OUT:
                self._left_out.add(frame.seq)
            if until is not None and frame.seq >= until:
                continue
            for place, delta in enumerate(deltas, self._given.deltas + 1):
                self._given = Position(self._given.seq, place)
                shown.append(self._shown(delta))
            deltas.clear()
            self._given = Position(frame.seq)
            if frame.event == DISCARDED:
                self.begun_anew = True
                # Where another process has discarded it, the next reader must not be shown it here once more.
                self._bus.forget(self._run_id, before=frame.seq)
            elif frame.event != LEFT_OUT:
                shown.append(self._shown(frame))
            if self.finished or self.begun_anew:
                break
        return shown

    async def _facts(self) -> Sequence[LoggedFact]:
        """Everything that the log has behind the position."""
        found: list[LoggedFact] = []
        after_seq = self._given.seq
        while True:
            page = await self._store.facts(self._run_id, after_seq=after_seq, limit=FACTS_PAGE)
            found += page
            if len(page) == FACTS_PAGE:
                after_seq = page[-1].seq
            elif not found or found[-1].event != "thread.run.requires_action":
                return found
            else:
                # Calls that the worker has made itself are in the step's row, until it is completed.
                stored = await self._store.run(self._run_id)
                if stored is None or stored.seq == found[-1].seq:
                    self._open_step = None if stored is None else stored.state.step
                    return found
                after_seq = found[-1].seq

    def _shown(self, frame: Frame) -> bytes:
        self.finished = frame.event in RESTING
        return _with_id(self._given.seq, self._given.deltas, frame)

    def close(self) -> None:
        self._timer.cancel()
        self._follower.close()


def _with_id(seq: int, deltas: int, frame: Frame) -> bytes:
    """As `Position` is written: `id: 7`, `id: 7.3`."""
    return b"id: %d.%d\n%b" % (seq, deltas, frame.data) if deltas else b"id: %d\n%b" % (seq, frame.data)
