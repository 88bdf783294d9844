"""The event stream as a reader: of the bus while that has all, and of the log where it has forgotten."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from support.store import NOON, PROJECT, Life, begun_thread, open_engine
from understudy.bus import memory
from understudy.bus.memory import MemoryBus
from understudy.core.run.state import Fact, RunState
from understudy.engine import stream as stream_module
from understudy.engine.frames import fact_frames
from understudy.engine.position import Position
from understudy.engine.stream import RunStream
from understudy.ports import Frame, Store

BEGUN = ["thread.run.created", "thread.run.queued"]
CLAIMED = ["thread.run.in_progress"]
OPENED = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
]
RETOLD = ["thread.message.delta"]  # a whole text, in the place of deltas long gone
COMPLETED = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine("sqlite", tmp_path) as opened:
        yield opened


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus(lambda: 0.0)
    yield made
    await made.close()


class Told(Life):
    """A run led by hand whose facts are published as the journal does it, while `tells`."""

    bus: MemoryBus
    tells = True

    @classmethod
    async def on(cls, store: Store, bus: MemoryBus) -> "Told":
        life = await Told.begin(store, await begun_thread(store))
        assert isinstance(life, Told)
        life.bus = bus
        facts = await store.facts(life.id, after_seq=0, limit=10)
        bus.publish(life.id, [Frame(fact.seq, fact.event, frame(fact.event)) for fact in facts])
        return life

    async def go(self, after: RunState, facts: Sequence[Fact], **fields: object) -> None:
        await super().go(after, facts, **fields)
        if self.tells:
            self.bus.publish(self.id, fact_frames(facts, self.seq))

    def say(self, text: str) -> None:
        self.bus.publish(self.id, [Frame(None, "thread.message.delta", b"event: %b\n" % text.encode())])


def frame(event: str) -> bytes:
    return b"event: %b\n" % event.encode()


async def follow(stream: RunStream) -> list[str]:
    """The names of all frames to the end of the stream; of deltas their text."""
    names: list[str] = []
    async with asyncio.timeout(5):
        while frames := await stream.next():
            names += [one.split(b"\n")[1].removeprefix(b"event: ").decode() for one in frames]
    stream.close()
    return names


async def test_an_early_reader_sees_all_as_it_happens(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    stream = RunStream(store, bus, life.id)
    reading = asyncio.create_task(follow(stream))
    await life.claim()
    await life.open_message()
    life.say("Fo")
    life.say("ur.")
    await life.complete()
    assert await reading == [*BEGUN, *CLAIMED, *OPENED, "Fo", "ur.", *COMPLETED]
    assert stream.finished


async def test_a_late_reader_sees_the_same(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    life.say("Four.")
    await life.complete()
    assert await follow(RunStream(store, bus, life.id)) == [*BEGUN, *CLAIMED, *OPENED, "Four.", *COMPLETED]


async def test_a_reader_may_begin_behind_any_fact(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    life.say("Four.")
    await life.complete()
    assert await follow(RunStream(store, bus, life.id, after=Position(3))) == [*OPENED, "Four.", *COMPLETED]
    assert await follow(RunStream(store, bus, life.id, after=Position(7))) == ["Four.", *COMPLETED]


async def test_what_the_bus_has_forgotten_comes_from_the_log(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    await life.complete()
    bus.retire(life.id)
    assert await follow(RunStream(store, bus, life.id)) == [*BEGUN, *CLAIMED, *OPENED, *RETOLD, *COMPLETED]


async def test_a_long_log_is_read_in_pages(store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    bus.retire(life.id)
    for page in (1, 2, 7, 8):  # seven facts so far: with and without a rest
        monkeypatch.setattr(stream_module, "FACTS_PAGE", page)
        stream = RunStream(store, bus, life.id)
        reading = asyncio.create_task(follow(stream))
        await asyncio.sleep(0)
        if page == 8:
            await life.complete()
            assert await reading == [*BEGUN, *CLAIMED, *OPENED, *COMPLETED]
        else:
            stream.close()
            assert await reading == [*BEGUN, *CLAIMED], "a message that is not told in full yet is not begun"
            assert not stream.finished


async def test_a_gap_on_the_bus_is_filled_from_the_log(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == 2
    life.tells = False
    await life.claim()
    life.tells = True
    await life.open_message()
    life.say("Four.")
    await life.complete()
    assert await follow(stream) == [*CLAIMED, *OPENED, "Four.", *COMPLETED]


async def test_a_slow_reader_misses_deltas_that_the_bus_had_to_drop_but_no_fact(
    store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = await Told.on(store, bus)
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == 2
    await life.claim()
    await life.open_message()
    for piece in "abcdefgh":
        life.say(piece)
    monkeypatch.setattr(memory, "BUS_RUN_BYTES_MAX", 100)
    life.say("i")  # too much: the older half goes, and with it the facts
    monkeypatch.undo()
    life.say("j")
    await life.complete()
    assert await follow(stream) == [*CLAIMED, *OPENED, *COMPLETED]


async def test_a_late_reader_of_a_torn_text_is_told_no_delta_out_of_place(
    store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    for piece in "abcdefgh":
        life.say(piece)
    monkeypatch.setattr(memory, "BUS_RUN_BYTES_MAX", 100)
    life.say("i")
    monkeypatch.undo()
    reading = asyncio.create_task(follow(RunStream(store, bus, life.id)))
    await asyncio.sleep(0)
    life.say("j")
    await life.complete()
    assert await reading == [*BEGUN, *CLAIMED, *OPENED, *COMPLETED]


@pytest.mark.parametrize("forgotten", [True, False])
async def test_a_late_reader_is_not_shown_what_was_discarded(store: Store, bus: MemoryBus, forgotten: bool) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    life.say("Three, or")
    await life.lose()
    await life.open_message()
    life.say("Four.")
    await life.complete()
    if forgotten:
        bus.retire(life.id)
    said = RETOLD if forgotten else ["Four."]
    assert await follow(RunStream(store, bus, life.id)) == [*BEGUN, *CLAIMED, *OPENED, *said, *COMPLETED]


async def test_a_reader_that_saw_the_beginning_of_a_discarded_answer_is_told_to_read_again(
    store: Store, bus: MemoryBus
) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == 7
    await life.lose()
    await life.open_message()
    assert await follow(stream) == []
    assert (stream.begun_anew, stream.finished) == (True, False)


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_reader_is_told_to_read_again_also_where_only_the_log_knows_of_the_discard(
    store: Store, bus: MemoryBus, forgotten: bool
) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == 7
    life.tells = False
    await life.lose()
    life.tells = not forgotten
    await life.open_message()
    await life.complete()
    if forgotten:
        stream.close()
        bus.retire(life.id)
        stream = RunStream(store, bus, life.id, after=Position(7))
    assert await follow(stream) == []
    assert (stream.begun_anew, stream.finished) == (True, False)


async def test_a_stream_ends_where_the_run_rests_and_not_before(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    await life.complete()
    stream = RunStream(store, bus, life.id)
    assert (await follow(stream))[-1] == "thread.run.completed"
    assert stream.finished
    assert await stream.next() == ()


async def test_the_stream_of_a_run_that_is_gone_ends_at_once(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    await store.delete_thread(PROJECT, life.thread_id)
    bus.retire(life.id)
    stream = RunStream(store, bus, life.id)
    assert await follow(stream) == []
    assert not stream.finished


async def test_a_gap_in_the_stream_of_a_run_that_is_gone_ends_it(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == 2
    life.tells = False
    await life.claim()
    life.tells = True
    await life.open_message()
    await store.delete_thread(PROJECT, life.thread_id)
    assert await follow(stream) == []
    assert not stream.finished


async def test_a_stream_ends_when_its_run_is_retired_or_itself_closed(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    retired, closed = RunStream(store, bus, life.id), RunStream(store, bus, life.id)
    reading = [asyncio.create_task(follow(retired)), asyncio.create_task(follow(closed))]
    await asyncio.sleep(0)
    closed.close()
    assert await reading[1] == BEGUN
    bus.retire(life.id)
    assert await reading[0] == BEGUN
    assert (retired.finished, closed.finished) == (False, False)


async def test_a_run_that_another_process_works_on_is_followed_in_the_log(
    store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LOG_LOOK_SECONDS", 0.01)
    life = await Told.on(store, bus)
    stream = RunStream(store, bus, life.id)
    life.tells = False
    assert len(await stream.next()) == len(BEGUN)
    await life.claim()
    assert len(await stream.next()) == len(CLAIMED)
    await life.open_message()
    reading = asyncio.create_task(follow(stream))
    await asyncio.sleep(0.03)  # it looks, and finds a message of which nothing can be told yet
    await life.complete()
    told = await reading
    assert [name for name in told if name != "thread.message.delta"] == [*OPENED, *COMPLETED]
    assert told[len(OPENED)] == "thread.message.delta", "the SDKs need one"
    assert stream.finished


async def test_the_stream_of_a_run_that_another_process_deletes_ends(
    store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LOG_LOOK_SECONDS", 0.01)
    life = await Told.on(store, bus)
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == len(BEGUN)
    await store.delete_thread(PROJECT, life.thread_id)
    assert await follow(stream) == []
    assert not stream.finished


async def test_an_answer_that_another_process_makes_anew_cannot_be_unsaid_and_is_shown_to_nobody_else(
    store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LOG_LOOK_SECONDS", 0.01)
    life = await Told.on(store, bus)
    await life.claim()
    await life.open_message()
    life.say("Three, or")
    stays = bus.follow(life.id)  # so that the bus does not let go of it for want of readers
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == 8
    life.tells = False
    await life.lose()
    assert await follow(stream) == []
    assert (stream.begun_anew, stream.finished) == (True, False)
    await life.open_message()
    await life.complete()
    assert await follow(RunStream(store, bus, life.id)) == [*BEGUN, *CLAIMED, *OPENED, *RETOLD, *COMPLETED]
    stays.close()


async def test_a_reader_that_comes_while_another_process_writes_a_message_gets_it_whole(
    store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LOG_LOOK_SECONDS", 0.01)
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    stream = RunStream(store, bus, life.id)
    assert len(await stream.next()) == len([*BEGUN, *CLAIMED])
    reading = asyncio.create_task(follow(stream))
    await life.complete()
    told = await reading
    assert [name for name in told if name != "thread.message.delta"] == [*OPENED, *COMPLETED]
    assert told[len(OPENED)] == "thread.message.delta", "the SDKs need one"


async def test_the_stream_of_a_run_whose_facts_are_no_longer_kept_ends(
    store: Store, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LOG_LOOK_SECONDS", 0.01)
    life = await Told.on(store, bus)
    reader = RunStream(store, bus, life.id)
    assert len(await reader.next()) == len(BEGUN)
    life.tells = False
    await life.claim()
    await life.open_message()
    await life.complete()
    await store.prune(NOON + 10**6, limit=1000)
    late = RunStream(store, MemoryBus(lambda: 0.0), life.id)
    for stream in (reader, late):
        assert await follow(stream) == []
        assert not stream.finished


@pytest.mark.parametrize("refused", ["none", "every other", "all"])
async def test_what_is_written_at_once_and_what_is_given_later_are_the_same_stream(
    store: Store, bus: MemoryBus, refused: str
) -> None:
    life = await Told.on(store, bus)
    shown: list[bytes] = []
    offered = written = 0

    def write(frames: bytes) -> bool:
        nonlocal offered, written
        offered += 1
        if refused == "all" or (refused == "every other" and offered % 2):
            return False
        written += 1
        shown.append(frames)
        return True

    async def read(stream: RunStream) -> None:
        while frames := await stream.next(write):
            shown.extend(frames)
        stream.close()

    reading = asyncio.create_task(read(RunStream(store, bus, life.id)))
    await asyncio.sleep(0)
    await life.claim()
    await life.open_message()
    for piece in "abcdefgh":
        life.say(piece)
        await asyncio.sleep(0)
    await life.complete()
    await reading
    assert written == {"none": 10, "every other": 5, "all": 0}[refused]
    whole = RunStream(store, bus, life.id)
    assert b"".join(shown) == b"".join(await whole.next())
    whole.close()


async def test_a_gap_is_filled_before_anything_is_written_at_once(store: Store, bus: MemoryBus) -> None:
    life = await Told.on(store, bus)
    stream = RunStream(store, bus, life.id)
    written: list[bytes] = []

    def write(frames: bytes) -> bool:
        written.append(frames)
        return True

    assert len(await stream.next(write)) == len(BEGUN)
    reading = asyncio.create_task(stream.next(write))
    await asyncio.sleep(0)
    life.tells = False
    await life.claim()
    life.tells = True
    await life.open_message()
    assert len(await reading) == len([*CLAIMED, *OPENED])
    reading = asyncio.create_task(stream.next(write))
    await asyncio.sleep(0)
    life.say("Four.")
    assert written == [b"id: 7.1\nevent: Four.\n"]
    await life.complete()
    assert len(await reading) == len(COMPLETED), "the last ones are given in any case"
    assert stream.finished
    stream.close()
