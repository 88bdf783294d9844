"""Messages that are added to a busy thread: listed at once, and read as if their senders had waited."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.store import ENGINES, PROJECT, Life, begun_thread, claimable, message, open_engine
from understudy.core.ids import ThreadId
from understudy.ports import PageQuery, Store, StoredMessage
from understudy.wire.messages import TextPart
from understudy.wire.runs import RunStatus

ALL = PageQuery(limit=100, descending=False)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def _add(store: Store, thread_id: str, value: str) -> None:
    await store.add_message(PROJECT, message(thread_id, value), queue=True)


async def _answer(life: Life, value: str) -> None:
    await life.claim()
    await life.open_message()
    await life.complete(value)


async def _read(store: Store, thread_id: str, limit: int = 100) -> list[str]:
    """What the active run may read, oldest first, looked up in pages of this size."""
    found: list[StoredMessage] = []
    while True:
        page = await store.recent_messages(ThreadId(thread_id), before=found[-1] if found else None, limit=limit)
        found += page
        if len(page) < limit:
            return _texts(found[::-1])


def _texts(found: Sequence[StoredMessage]) -> list[str]:
    return [part.text.value for one in found for part in one.message.content if isinstance(part, TextPart)]


async def _listed(store: Store, thread_id: str) -> list[str]:
    bodies = (await store.page("message", PROJECT, thread_id, ALL)).bodies
    return [body.decode().split('"value":"')[1].split('"')[0] for body in bodies if b'"value":"' in body]


async def test_three_questions_in_a_row_are_each_read_behind_the_answer_before(store: Store) -> None:
    thread_id = await begun_thread(store)
    await _add(store, thread_id, "q1")
    first = await Life.queue(store, thread_id)
    await _add(store, thread_id, "q2")
    second = await Life.queue(store, thread_id)
    third = await Life.queue(store, thread_id, messages=[message(thread_id, "q3")])
    assert await _read(store, thread_id) == ["q1"]
    await _answer(first, "a1")
    assert await _read(store, thread_id) == ["q1", "a1", "q2"]
    await _answer(second, "a2")
    assert await _read(store, thread_id) == ["q1", "a1", "q2", "a2", "q3"]
    await _answer(third, "a3")
    conversation = ["q1", "a1", "q2", "a2", "q3", "a3"]
    for limit in range(1, 8):
        assert await _read(store, thread_id, limit) == conversation


async def test_many_messages_behind_one_run_are_read_in_pages_of_any_size(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.queue(store, thread_id, messages=[message(thread_id, "q1")])
    waited = [f"w{n}" for n in range(5)]
    for value in waited:
        await _add(store, thread_id, value)
    await _answer(first, "a1")
    await _add(store, thread_id, "free")
    for limit in range(1, 9):
        assert await _read(store, thread_id, limit) == ["q1", "a1", *waited, "free"]


async def test_lists_keep_the_order_in_which_messages_were_added(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.queue(store, thread_id, messages=[message(thread_id, "q1")])
    await _add(store, thread_id, "q2")
    assert await _listed(store, thread_id) == ["q1", "q2"]
    await _answer(first, "a1")
    assert await _listed(store, thread_id) == ["q1", "q2", "a1"]


async def test_a_message_for_an_active_run_that_has_not_begun_is_not_for_that_run(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.begin(store, thread_id)
    await _add(store, thread_id, "q1")
    assert await _read(store, thread_id) == []
    assert await store.first_messages(ThreadId(thread_id), limit=4) == []
    await first.end()
    assert await _read(store, thread_id) == ["q1"]
    assert _texts(await store.first_messages(ThreadId(thread_id), limit=4)) == ["q1"]


async def test_a_message_behind_a_waiting_run_is_not_for_that_one_either(store: Store) -> None:
    thread_id = await begun_thread(store)
    first, second = await Life.queue(store, thread_id), await Life.queue(store, thread_id)
    await _add(store, thread_id, "late")
    await first.end()
    assert await _read(store, thread_id) == []
    await second.end()
    assert await _read(store, thread_id) == ["late"]


async def test_the_messages_of_a_run_that_was_cancelled_while_it_waited_are_read_by_the_next(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.queue(store, thread_id, messages=[message(thread_id, "q1")])
    second = await Life.queue(store, thread_id, messages=[message(thread_id, "q2")])
    await _add(store, thread_id, "q3")
    await Life.queue(store, thread_id)
    await second.end("cancelled")
    assert await _read(store, thread_id) == ["q1"]
    await _answer(first, "a1")
    assert await _read(store, thread_id) == ["q1", "a1", "q2", "q3"]


async def test_a_message_added_when_the_last_one_is_deleted_is_read_behind_those_that_waited(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.queue(store, thread_id, messages=[message(thread_id, "q1")])
    await _add(store, thread_id, "q2")
    await _answer(first, "a1")
    answer_id = (await store.page("message", PROJECT, thread_id, ALL)).ids[-1]
    assert await store.delete_message(PROJECT, thread_id, answer_id)
    await _add(store, thread_id, "q3")
    assert await _read(store, thread_id) == ["q1", "q2", "q3"]


async def test_a_message_that_waits_can_be_changed_and_deleted(store: Store) -> None:
    thread_id = await begun_thread(store)
    first = await Life.begin(store, thread_id)
    kept, gone = message(thread_id, "kept"), message(thread_id, "gone")
    for stored in (kept, gone):
        await store.add_message(PROJECT, stored, queue=True)
    assert await store.delete_message(PROJECT, thread_id, gone.message.id)
    assert await store.body("message", PROJECT, thread_id, kept.message.id) is not None
    await first.end()
    assert await _read(store, thread_id) == ["kept"]


# --- any history

Move: TypeAlias = tuple[Literal["run", "message", "answer", "end", "cancel"], int]
MOVES = st.lists(
    st.tuples(st.sampled_from(["run", "message", "answer", "end", "cancel"]), st.integers(0, 3)), max_size=20
)
ENDS: tuple[RunStatus, ...] = ("completed", "failed", "expired", "cancelled")


class History:
    """A thread, and what it must be like: `said` holds its messages and runs in the order in which they were added."""

    def __init__(self, store: Store, thread_id: str) -> None:
        self._store = store
        self._thread_id = thread_id
        self._line: list[Life] = []
        self._said: list[str | Life] = []
        self._answers: dict[Life, str] = {}

    async def move(self, move: Move) -> None:
        kind, number = move
        match kind:
            case "run":
                await self._begin(number)
            case "message":
                await self._say(f"m{len(self._said)}")
            case "cancel" if len(self._line) > 1:
                waiting = self._line.pop(1 + number % (len(self._line) - 1))
                assert await waiting.end("cancelled") is None
            case "answer" | "end" if self._line:
                await self._end(ENDS[number], answers=kind == "answer")
        await self.check()

    async def _begin(self, messages: int) -> None:
        values = [f"r{len(self._said) + n}" for n in range(messages)]
        given = [message(self._thread_id, value) for value in values]
        life = await Life.queue(self._store, self._thread_id, messages=given)
        self._said += [*values, life]
        self._line.append(life)

    async def _say(self, value: str) -> None:
        await _add(self._store, self._thread_id, value)
        self._said.append(value)

    async def _end(self, status: RunStatus, *, answers: bool) -> None:
        ending = self._line.pop(0)
        if answers:
            self._answers[ending] = f"a{len(self._answers)}"
            await _answer(ending, self._answers[ending])
        else:
            await ending.end(status)
        assert ending.released == (self._line[0].id if self._line else None)

    async def check(self) -> None:
        """One run at most may be taken, the one that came first; it reads what was said before it was added."""
        assert await claimable(self._store) == [life.id for life in self._line[:1]]
        read = self._said[: self._said.index(self._line[0])] if self._line else self._said
        expected = [one if isinstance(one, str) else self._answers.get(one) for one in read]
        assert await _read(self._store, self._thread_id, limit=3) == [one for one in expected if one is not None]

    async def drain(self) -> None:
        """Nobody is stuck: ending one run after the other ends them all, and the thread is free."""
        while self._line:
            await self.move(("end", 0))
        everything = [one if isinstance(one, str) else self._answers.get(one) for one in self._said]
        assert sorted(await _listed(self._store, self._thread_id)) == sorted(one for one in everything if one)
        life = await Life.begin(self._store, self._thread_id)
        await life.end()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES)
async def test_whatever_happens_the_thread_is_as_if_everybody_had_waited(store: Store, moves: list[Move]) -> None:
    thread_id = await begun_thread(store)
    try:
        history = History(store, thread_id)
        for move in moves:
            await history.move(move)
        await history.drain()
    finally:
        await store.delete_thread(PROJECT, thread_id)
