"""What crosses between two processes, and in how many messages."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack

import msgspec
import pytest

from understudy.bus import shared
from understudy.bus.memory import MemoryBus
from understudy.bus.shared import Batch, News, Note, SharedBus
from understudy.core.ids import RunId
from understudy.core.limits import LINK_BYTES_MAX
from understudy.ports import Follower, Frame

SECONDS_MAX = 5.0
ONE, TWO = RunId("run_one"), RunId("run_two")


class Wire:
    """A link within one process: what is sent arrives with the loop's next turn."""

    carries_frames = True

    def __init__(self, nodes: dict[str, Callable[[bytes], None]]) -> None:
        self._nodes = nodes
        self.notes: list[Note] = []

    async def open(self, node: str, take: Callable[[bytes], None], joined: Callable[[], None]) -> None:
        self._nodes[node] = take
        joined()

    def send(self, to: str | None, message: bytes) -> None:
        self.notes.append(msgspec.msgpack.decode(message, type=Note))
        for node, take in self._nodes.items():
            if to in (None, node):
                asyncio.get_running_loop().call_soon(take, message)

    async def close(self) -> None:
        pass

    def batches(self) -> list[list[str]]:
        """The runs of each batch that was sent."""
        return [[piece.run for piece in note.pieces] for note in self.notes if isinstance(note, Batch)]


class Pair:
    """A process that works on two runs, and one where they are followed."""

    def __init__(self) -> None:
        nodes: dict[str, Callable[[bytes], None]] = {}
        self.wire, other = Wire(nodes), Wire(nodes)
        self.worker = SharedBus(MemoryBus(lambda: 0.0), self.wire, lambda: 0.0, node="worker")
        self.reader = SharedBus(MemoryBus(lambda: 0.0), other, lambda: 0.0, node="reader")
        self.followers: dict[RunId, Follower] = {}

    async def open(self, opened: AsyncExitStack) -> None:
        for bus in (self.worker, self.reader):
            await bus.open()
            opened.push_async_callback(bus.close)
        for run in (ONE, TWO):
            opened.callback(self.worker.on_interrupt(run, lambda: None))
            self.worker.publish(run, [Frame(1, "thread.run.created", b"1")])
            self.followers[run] = self.reader.follow(run)
            assert await self.next(run) == [b"1"]

    def say(self, run: RunId, *tokens: bytes) -> None:
        for token in tokens:
            self.worker.publish(run, [Frame(None, "thread.message.delta", token)])

    async def next(self, run: RunId) -> Sequence[bytes]:
        async with asyncio.timeout(SECONDS_MAX):
            return [frame.data for frame in await self.followers[run].next()]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    async with AsyncExitStack() as opened:
        await made.open(opened)
        yield made


async def test_tokens_of_several_runs_cross_in_one_message(pair: Pair) -> None:
    pair.say(ONE, b"a", b"b")
    pair.say(TWO, b"c")
    assert await pair.next(ONE) == [b"a", b"b"]
    assert await pair.next(TWO) == [b"c"]
    assert pair.wire.batches() == [[ONE, TWO]]


async def test_a_batch_that_is_too_large_crosses_run_by_run(pair: Pair) -> None:
    large = b"x" * (LINK_BYTES_MAX * 2 // 3)
    pair.say(ONE, large)
    pair.say(TWO, large)
    assert await pair.next(ONE) == [large]
    assert await pair.next(TWO) == [large]
    assert pair.wire.batches() == [[ONE], [TWO]]


async def test_of_what_is_too_large_for_a_message_there_is_news_only(pair: Pair) -> None:
    pair.say(ONE, b"x" * LINK_BYTES_MAX)
    assert await pair.next(ONE) == []
    assert pair.wire.batches() == []
    assert [note.run for note in pair.wire.notes if isinstance(note, News)] == [ONE]


async def test_a_run_that_nobody_follows_elsewhere_costs_no_message(pair: Pair) -> None:
    sent = len(pair.wire.notes)
    unheard = RunId("run_unheard")
    stop = pair.worker.on_interrupt(unheard, lambda: None)
    pair.worker.publish(unheard, [Frame(1, "thread.run.created", b"1")])
    await asyncio.sleep(2 * shared.LINK_BATCH_SECONDS)
    stop()
    assert len(pair.wire.notes) == sent
