"""The bus of several processes: each has its own in memory, and a link carries what somebody elsewhere waits for.

Nothing depends on the link for being right. A message that is lost costs a wake-up that a look at the rows makes up
for, or deltas, in whose place readers are told the whole message from the fact log.

A run's frames cross the link only while another process follows the run: it says so again and again, and whoever works
on the run answers with what it still has, and then with what comes. Runs that are read where they are worked on, as
most are, cost the link nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec
import structlog
from msgspec import Struct

from understudy.bus.memory import MemoryBus, MemoryFollower
from understudy.core.ids import RunId
from understudy.core.limits import (
    LINK_BATCH_SECONDS,
    LINK_BYTES_MAX,
    WANT_KEEP_SECONDS,
    WANT_SECONDS,
    WANT_WAIT_SECONDS,
)
from understudy.ports import Clock, Frame

log = structlog.get_logger()


class Link(Protocol):
    """Short messages between the processes of one deployment, each at most once, in order from one sender."""

    carries_frames: bool  # or else followers are only told that there is news, and read the log

    async def open(self, node: str, take: Callable[[bytes], None], joined: Callable[[], None]) -> None:
        """Begins to `take` messages to this node and to all; `joined` is called at each connection, the first too.

        Raises `StoreUnavailable` for what trying again does not mend; else it is tried for again and again.
        """

    def send(self, to: str | None, message: bytes) -> None:
        """To one node, or to all. Never waits; what cannot be sent for long is thrown away."""

    async def close(self) -> None: ...


# --- what crosses the link


class _Note(Struct, frozen=True, array_like=True, tag=True):
    node: str  # who says it


class Want(_Note, frozen=True, array_like=True, tag=True):
    """A reader here follows these runs."""

    runs: list[str]


class Held(_Note, frozen=True, array_like=True, tag=True):
    """All that the node that works on the run has of it. The frame that comes next has the number `behind`."""

    run: str
    frames: list[Frame]
    behind: int


class Piece(Struct, frozen=True, array_like=True):
    """Frames of a run as they were published; the first has the number `start` among those of its node."""

    run: str
    frames: list[Frame]
    start: int


class Batch(_Note, frozen=True, array_like=True, tag=True):
    """What came of runs that the other node follows, in one message: each message costs more than what is in it."""

    pieces: list[Piece]


class News(_Note, frozen=True, array_like=True, tag=True):
    """Facts of the run were logged."""

    run: str


class Wake(_Note, frozen=True, array_like=True, tag=True):
    pass


class Interrupt(_Note, frozen=True, array_like=True, tag=True):
    run: str


class Retire(_Note, frozen=True, array_like=True, tag=True):
    run: str


Note: TypeAlias = Want | Held | Batch | News | Wake | Interrupt | Retire

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Note)


class SharedBus:
    """`ports.Bus` over a link. Belongs to the event loop that opened it."""

    def __init__(self, local: MemoryBus, link: Link, clock: Clock, *, node: str) -> None:
        self._local = local
        self._link = link
        self._clock = clock
        self._node = node
        self._following: dict[RunId, int] = {}
        self._expected: dict[RunId, tuple[str, int]] = {}  # who sends a run's frames, and the number of its next one
        self._wanted: dict[RunId, dict[str, float]] = {}  # who follows a run elsewhere, and until when
        self._working: dict[RunId, int] = {}  # runs worked on here, and how many frames of them were published
        self._leaving: dict[RunId, list[Frame]] = {}  # what goes out with the next batch
        self._flush: asyncio.TimerHandle | None = None
        self._chore: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises `StoreUnavailable`."""
        await self._link.open(self._node, self._take, self._joined)
        self._chore = asyncio.create_task(self._again_and_again(), name="bus-wants")

    # --- what this process says

    def publish(self, run_id: RunId, frames: Sequence[Frame]) -> None:
        self._local.publish(run_id, frames)
        published = self._working.get(run_id)
        if published is not None:
            self._working[run_id] = published + len(frames)
        if frames and run_id in self._wanted:
            self._pass_on(run_id, frames)

    def _pass_on(self, run_id: RunId, frames: Sequence[Frame]) -> None:
        if not (self._link.carries_frames and run_id in self._working):
            if any(frame.seq is not None for frame in frames):
                for node in self._wanted[run_id]:
                    self._say(News(self._node, run_id), node)
            return
        self._leaving.setdefault(run_id, []).extend(frames)
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(LINK_BATCH_SECONDS, self._send_batch)

    def _send_batch(self) -> None:
        self._flush = None
        leaving, self._leaving = self._leaving, {}
        batches: dict[str, list[Piece]] = {}
        for run_id, frames in leaving.items():
            start = self._working.get(run_id, len(frames)) - len(frames)
            piece = Piece(run_id, frames, start)
            for node in self._wanted.get(run_id, ()):
                batches.setdefault(node, []).append(piece)
        for node, pieces in batches.items():
            self._send_pieces(node, pieces)

    def _send_pieces(self, node: str, pieces: list[Piece]) -> None:
        message = _ENCODER.encode(Batch(self._node, pieces))
        if len(message) <= LINK_BYTES_MAX:
            self._link.send(node, message)
        elif len(pieces) > 1:
            for piece in pieces:
                self._send_pieces(node, [piece])
        else:
            self._say(News(self._node, pieces[0].run), node)

    def _say(self, note: Note, to: str | None = None) -> None:
        self._link.send(to, _ENCODER.encode(note))

    def wake(self) -> None:
        self._local.wake()
        self._say(Wake(self._node))

    async def wait_for_work(self, seconds: float) -> None:
        await self._local.wait_for_work(seconds)

    def interrupt(self, run_id: RunId) -> None:
        self._local.interrupt(run_id)
        if run_id not in self._working:
            self._say(Interrupt(self._node, run_id))

    def on_interrupt(self, run_id: RunId, call: Callable[[], None]) -> Callable[[], None]:
        stop_listening = self._local.on_interrupt(run_id, call)
        self._working[run_id] = 0

        def stop() -> None:
            stop_listening()
            if run_id in self._leaving:
                self._send_batch_now()
            self._working.pop(run_id, None)

        return stop

    def _send_batch_now(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        self._send_batch()

    def retire(self, run_id: RunId) -> None:
        self._local.retire(run_id)
        self._say(Retire(self._node, run_id))

    def forget(self, run_id: RunId, *, before: int | None = None) -> None:
        self._local.forget(run_id, before=before)

    # --- what this process follows

    def follow(self, run_id: RunId) -> MemoryFollower:
        self._following[run_id] = self._following.get(run_id, 0) + 1
        if self._following[run_id] == 1:
            # Most runs are worked on where they are read: whether this one is shows in a moment.
            asyncio.get_running_loop().call_later(WANT_WAIT_SECONDS, self._want, run_id)
        return self._local.follow(run_id, when_closed=lambda: self._leave(run_id))

    def _want(self, run_id: RunId) -> None:
        if run_id in self._following and run_id not in self._working:
            self._say(Want(self._node, [run_id]))

    def _leave(self, run_id: RunId) -> None:
        self._following[run_id] -= 1
        if self._following[run_id] == 0:
            del self._following[run_id]
            # What came over the link ends here: held on to, it would look whole to the next reader and not be.
            if self._expected.pop(run_id, None) is not None and run_id not in self._working:
                self._local.retire(run_id)

    # --- what the others say

    def _take(self, message: bytes) -> None:
        try:
            note = _DECODER.decode(message)
        except msgspec.DecodeError:
            log.warning("bus_note_unreadable", bytes=len(message))
            return
        if note.node == self._node:
            return
        match note:
            case Wake():
                self._local.wake()
            case Interrupt(run=run):
                self._local.interrupt(RunId(run))
            case Retire(run=run):
                self._local.retire(RunId(run))
            case News(run=run):
                self._local.nudge(RunId(run))
            case Want(node=node, runs=runs):
                self._be_wanted(node, [RunId(run) for run in runs])
            case Held(node=node, run=run, frames=frames, behind=behind):
                self._receive(node, RunId(run), frames, behind)
            case Batch(node=node, pieces=pieces):
                for piece in pieces:
                    self._receive_piece(node, piece)

    def _be_wanted(self, node: str, runs: Sequence[RunId]) -> None:
        until = self._clock() + WANT_KEEP_SECONDS
        for run_id in runs:
            nodes = self._wanted.setdefault(run_id, {})
            is_new = node not in nodes
            nodes[node] = until
            if is_new and run_id in self._working:
                self._answer(node, run_id)

    def _answer(self, node: str, run_id: RunId) -> None:
        """Shows a node that follows the run what there is of it. It has missed nothing that leaves later."""
        if run_id in self._leaving:
            self._send_batch_now()
        held = _ENCODER.encode(Held(self._node, run_id, [*self._local.held(run_id)], self._working[run_id]))
        if self._link.carries_frames and len(held) <= LINK_BYTES_MAX:
            self._link.send(node, held)
        else:
            self._say(News(self._node, run_id), node)

    def _receive_piece(self, node: str, piece: Piece) -> None:
        run_id, frames, start = RunId(piece.run), piece.frames, piece.start
        fits = self._expected.get(run_id) == (node, start)
        self._receive(node, run_id, frames if fits else _from_fact(frames), start + len(frames))

    def _receive(self, node: str, run_id: RunId, frames: Sequence[Frame], behind: int) -> None:
        """Frames from a fact on, or such as go on where the last ones ended: readers can place no others."""
        if run_id not in self._following or run_id in self._working:
            return
        known, number = self._expected.get(run_id, ("", 0))
        if known == node and behind <= number:
            return
        if frames:
            self._expected[run_id] = (node, behind)
            self._local.publish(run_id, frames)

    def _joined(self) -> None:
        """Messages may have been missed: whoever waits for one looks for itself."""
        self._local.wake()
        for run_id in self._following:
            self._local.nudge(run_id)
        self._want_all()

    # --- life

    def _want_all(self) -> None:
        if runs := [run_id for run_id in self._following if run_id not in self._working]:
            self._say(Want(self._node, [*runs]))

    async def _again_and_again(self) -> None:
        while True:
            await asyncio.sleep(WANT_SECONDS)
            self._want_all()
            now = self._clock()
            for run_id, nodes in tuple(self._wanted.items()):
                for node in [node for node, until in nodes.items() if until <= now]:
                    del nodes[node]
                if not nodes:
                    del self._wanted[run_id]

    async def close(self) -> None:
        if self._chore is not None:
            self._chore.cancel()
        self._send_batch_now()
        await self._local.close()
        await self._link.close()


def _from_fact(frames: Sequence[Frame]) -> Sequence[Frame]:
    """The frames from the first fact on: a delta's place is behind the fact before it."""
    at = next((at for at, frame in enumerate(frames) if frame.seq is not None), len(frames))
    return frames[at:]
