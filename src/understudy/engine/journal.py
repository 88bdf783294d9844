"""The only writer of a run's state: rows and fact log in one transaction, then the readers are told.

A client that saw `...completed` and then asks with GET sees `completed`, because nothing is published before it is
durable; and what is durable is published even if the caller is cancelled meanwhile. Whoever loses a race gets
`SeqConflict`, loads the run and decides again.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from understudy.core.ids import RunId
from understudy.core.limits import CONTEXT_PAGE_MESSAGES
from understudy.core.run.machine import Decision
from understudy.core.run.state import Note
from understudy.engine.frames import fact_frames
from understudy.ports import Append, Appended, Bus, Clock, Frame, Lease, NewRun, Share, Store, StoredMessage, StoredRun


class Deltas(Struct, frozen=True):
    """Deltas that stand behind that many of the facts that are written with them."""

    behind: int
    frames: Sequence[Frame]


class Journal:
    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock

    async def begin(self, new: NewRun) -> StoredRun:
        """Writes a new run; one that must wait for its thread has no lease. Raises what `Store.add_run` raises.

        To be shielded by the caller: what follows on a run that was written is more than its publication.
        """
        begun = await self._store.add_run(new)
        decision, lease = Decision(new.facts, new.state), new.lease
        if begun.waits:
            assert new.if_busy is not None
            decision, lease = new.if_busy, None
        self._bus.publish(RunId(new.state.run.id), fact_frames(decision.facts, begun.seq))
        return StoredRun(
            project=new.project,
            state=decision.after,
            settings=new.settings,
            seq=begun.seq,
            lease=lease,
            opening=_opening(new),
        )

    async def append(
        self,
        stored: StoredRun,
        decision: Decision,
        *,
        owner: str | None = None,
        lease: Lease | Literal["keep"] | None = "keep",
        message_tokens: int = 0,
        notes: Mapping[str, Note] | None = None,
        share: Share | None = None,
        deltas: Sequence[Deltas] = (),
    ) -> StoredRun:
        """The run as it was written, behind the decision. Raises `SeqConflict`, `Missing`, `StoreUnavailable`.

        With a `share`, which is for taking a run, also `NoPlace`. The `deltas` are published with the facts.
        """
        append = Append(
            run_id=RunId(stored.state.run.id),
            at=int(self._clock()),
            expected_seq=stored.seq,
            before=stored.state,
            after=decision.after,
            facts=decision.facts,
            owner=owner,
            lease=lease,
            message_tokens=message_tokens,
            notes=notes or {},
            share=share,
        )
        appended = await self._store.append(append, partial(self._publish, append.run_id, deltas))
        kept = stored.lease if lease == "keep" else lease
        return replace(stored, state=appended.written.after, seq=appended.seq, lease=kept)

    def _publish(self, run_id: RunId, deltas: Sequence[Deltas], appended: Appended) -> None:
        frames = fact_frames(appended.written.facts, appended.seq)
        for shown in reversed(deltas):
            frames[shown.behind : shown.behind] = shown.frames
        self._bus.publish(run_id, frames)
        if appended.released is not None:
            self._bus.wake()


def _opening(new: NewRun) -> Sequence[StoredMessage] | None:
    """What a run with a thread of its own reads first, unless that is more than is read at a time."""
    return new.messages if new.thread is not None and len(new.messages) < CONTEXT_PAGE_MESSAGES else None
