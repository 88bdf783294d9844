"""Live events within one process: a log of frames per run, kept for a while after its newest fact."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from understudy.core.ids import RunId
from understudy.core.limits import BUS_BYTES_MAX, BUS_KEEP_SECONDS, BUS_RUN_BYTES_MAX
from understudy.core.run.state import DISCARDED
from understudy.ports import Clock, Frame


class _Topic:
    """One run's frames, oldest first. `dropped` counts those that were let go to stay within bounds."""

    __slots__ = ("dropped", "followers", "frames", "held_from", "size_bytes")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.dropped = 0
        self.size_bytes = 0
        self.held_from: int | None = None
        self.followers: set[MemoryFollower] = set()

    def add(self, frames: Sequence[Frame]) -> bool:
        """Whether facts are among them."""
        size, has_facts = 0, False
        for frame in frames:
            size += len(frame.data)
            if frame.seq is not None:
                has_facts = True
                if frame.event == DISCARDED:
                    self.clear()
                if self.held_from is None:
                    self.held_from = frame.seq
        self.frames.extend(frames)
        self.size_bytes += size
        if self.size_bytes > BUS_RUN_BYTES_MAX:
            self._drop(len(self.frames) // 2)
        return has_facts

    def add_delta(self, frame: Frame) -> bool:
        """What `add` does, for a frame that is none of a fact, where there is room."""
        size = len(frame.data)
        if frame.seq is not None or self.size_bytes + size > BUS_RUN_BYTES_MAX:
            return False
        self.frames.append(frame)
        self.size_bytes += size
        return True

    def clear(self) -> None:
        self._drop(len(self.frames))

    def _drop(self, oldest: int) -> None:
        """Readers that had not taken the dropped frames yet fill the gap from the fact log."""
        self.size_bytes -= sum(len(frame.data) for frame in self.frames[:oldest])
        self.dropped += oldest
        del self.frames[:oldest]
        self.held_from = next((frame.seq for frame in self.frames if frame.seq is not None), None)


class MemoryFollower:
    def __init__(self, topic: _Topic, let_go: Callable[["MemoryFollower"], None]) -> None:
        self._topic = topic
        self._let_go = let_go
        self._taken = topic.dropped
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[Sequence[Frame]], bool] | None = None
        self._torn = False  # frames were dropped before they were taken
        self._nudged = False
        self.closed = False
        self.held_from = topic.held_from

    async def next(self, take: Callable[[Sequence[Frame]], bool] | None = None) -> Sequence[Frame]:
        self._take = take
        while not self.closed:
            if frames := self._not_taken():
                self._taken += len(frames)
                return frames
            if self._nudged:
                self._nudged = False
                break
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return ()

    def _not_taken(self) -> Sequence[Frame]:
        """From `_taken` on."""
        topic = self._topic
        if self._taken < topic.dropped:
            self._taken, self._torn = topic.dropped, True
        if self._torn:
            # A delta's place is behind the fact before it: where that was dropped, the next fact comes first.
            while self._torn and self._taken < topic.dropped + len(topic.frames):
                self._torn = topic.frames[self._taken - topic.dropped].seq is None
                self._taken += self._torn
        return topic.frames[self._taken - topic.dropped :]

    def offer(self, published: Sequence[Frame]) -> None:
        """Gives what was published to whoever waits, if possible without waking a task."""
        waiter, take, topic = self._waiter, self._take, self._topic
        if waiter is None or waiter.done():
            return
        try:
            # Who waits has taken everything before, as a rule.
            is_next = self._taken + len(published) == topic.dropped + len(topic.frames) and not self._torn
            frames = published if is_next else self._not_taken()
            if take is not None and frames and take(frames):
                self._taken += len(frames)
            else:
                self.wake()
        except Exception as error:
            if not waiter.done():
                waiter.set_exception(error)  # it is the reader's, and nothing that whoever publishes could mend

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._let_go(self)
            self.wake()

    def nudge(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._nudged = True
            self.wake()


class MemoryBus:
    """The bus of a single process. Not for threads: everything happens on the event loop's own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._topics: dict[RunId, _Topic] = {}
        self._kept_until: OrderedDict[RunId, float] = OrderedDict()
        self._work = asyncio.Event()
        self._size_bytes = 0
        self._closed = False
        self._interrupts: dict[RunId, list[Callable[[], None]]] = {}

    def publish(self, run_id: RunId, frames: Sequence[Frame]) -> None:
        if not frames:
            return
        topic = self._topics.get(run_id)
        if topic is None:
            if all(frame.seq is None for frame in frames):
                return  # deltas of a run that is retired or forgotten: no reader could place them
            topic = self._topics[run_id] = _Topic()
        elif len(frames) == 1 and topic.add_delta(frames[0]):  # nearly always: in as few calls as will do
            self._size_bytes += len(frames[0].data)
            for follower in tuple(topic.followers):
                follower.offer(frames)
            if self._size_bytes > BUS_BYTES_MAX:
                self._make_room()
            return
        before = topic.size_bytes
        has_facts = topic.add(frames)
        self._size_bytes += topic.size_bytes - before
        for follower in tuple(topic.followers):
            follower.offer(frames)
        if has_facts:
            self._kept_until[run_id] = self._clock() + BUS_KEEP_SECONDS
            self._kept_until.move_to_end(run_id)
            self._forget()
        if self._size_bytes > BUS_BYTES_MAX:
            self._make_room()

    def _forget(self) -> None:
        """Lets go of runs without news and without readers, whether they rest or go on in another process."""
        now = self._clock()
        while self._kept_until:
            run_id, until = next(iter(self._kept_until.items()))
            if until > now:
                return
            del self._kept_until[run_id]
            topic = self._topics.get(run_id)
            if topic is not None and topic.followers:
                self._kept_until[run_id] = now + BUS_KEEP_SECONDS
            else:
                self._remove(run_id)

    def _make_room(self) -> None:
        """Lets go of the runs whose news are oldest, as far as nobody reads them: the log has their facts."""
        for run_id in [run_id for run_id in self._kept_until if not self._topics[run_id].followers]:
            if self._size_bytes <= BUS_BYTES_MAX:
                return
            del self._kept_until[run_id]
            self._remove(run_id)

    def _remove(self, run_id: RunId) -> _Topic | None:
        topic = self._topics.pop(run_id, None)
        if topic is not None:
            self._size_bytes -= topic.size_bytes
        return topic

    def follow(self, run_id: RunId, *, when_closed: Callable[[], None] | None = None) -> MemoryFollower:
        topic = self._topics.get(run_id)
        if topic is None:
            topic = self._topics[run_id] = _Topic()

        def let_go(follower: MemoryFollower) -> None:
            topic.followers.discard(follower)
            if not topic.frames and not topic.followers and self._topics.get(run_id) is topic:
                del self._topics[run_id]
                self._kept_until.pop(run_id, None)
            if when_closed is not None:
                when_closed()

        follower = MemoryFollower(topic, let_go)
        topic.followers.add(follower)
        if self._closed:
            follower.close()
        return follower

    def held(self, run_id: RunId) -> Sequence[Frame]:
        """What is in memory of a run, oldest first."""
        topic = self._topics.get(run_id)
        return () if topic is None else topic.frames

    def nudge(self, run_id: RunId) -> None:
        """Wakes all who wait for news of the run: they are to look into its log."""
        topic = self._topics.get(run_id)
        if topic is not None:
            for follower in tuple(topic.followers):
                follower.nudge()

    def retire(self, run_id: RunId) -> None:
        self._kept_until.pop(run_id, None)
        topic = self._remove(run_id)
        if topic is not None:
            for follower in tuple(topic.followers):
                follower.close()

    def forget(self, run_id: RunId, *, before: int | None = None) -> None:
        topic = self._topics.get(run_id)
        if topic is None or (before is not None and (topic.held_from is None or topic.held_from >= before)):
            return
        if topic.followers:
            self._size_bytes -= topic.size_bytes
            topic.clear()
        else:
            self._kept_until.pop(run_id, None)
            self._remove(run_id)

    def wake(self) -> None:
        self._work.set()

    async def wait_for_work(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._work.wait()
        except TimeoutError:
            pass
        self._work.clear()

    def interrupt(self, run_id: RunId) -> None:
        for call in tuple(self._interrupts.get(run_id, ())):
            call()

    def on_interrupt(self, run_id: RunId, call: Callable[[], None]) -> Callable[[], None]:
        calls = self._interrupts.setdefault(run_id, [])
        calls.append(call)

        def stop() -> None:
            calls.remove(call)
            if not calls:
                self._interrupts.pop(run_id, None)

        return stop

    async def close(self) -> None:
        self._closed = True
        for run_id in tuple(self._topics):
            self.retire(run_id)
