"""Writes that come together: one transaction, out of which one that cannot go on takes no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from support.postgres import database_url
from support.store import PROJECT, Life, begun_thread, fresh, message, new_run, refusal, thread
from support.talk import polled
from understudy.ports import Appended, Missing, SeqConflict, StoredMessage, StoreUnavailable, ThreadBusy
from understudy.store.operations import Op, Query
from understudy.store.postgres import PostgresStore, open_postgres
from understudy.wire.threads import Thread

SECONDS_MAX = 10.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PostgresStore]:
    made = await open_postgres(database_url(tmp_path))
    yield made
    await made.close()


@pytest.fixture
async def other(tmp_path: Path, store: PostgresStore) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else on the same database."""
    made = await asyncpg.connect(database_url(tmp_path))
    yield made
    await made.close()


async def _together(*calls: object) -> Sequence[object]:
    """The results of calls that are made in one moment, the first of them before the others."""
    async with asyncio.timeout(SECONDS_MAX):
        return await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[call-overload, no-any-return]


async def _transactions(other: asyncpg.Connection, table: str, ids: Sequence[str]) -> list[int]:
    """Which transaction each row was written by."""
    rows = await other.fetch(f"SELECT id, xmin::text::bigint FROM {table} WHERE id = ANY($1)", ids)
    found = dict(rows)
    return [found[one] for one in ids]


async def _add(store: PostgresStore, made: Thread) -> None:
    await store.add_thread(PROJECT, made, [message(made.id), message(made.id)])


async def test_the_first_write_goes_at_once_and_those_that_come_meanwhile_are_one_transaction(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    made = [thread() for _ in range(6)]
    assert await _together(*(_add(store, one) for one in made)) == [None] * 6
    first, *others = await _transactions(other, "threads", [one.id for one in made])
    assert len(set(others)) == 1
    assert first not in others
    assert await other.fetchval("SELECT COUNT(*) FROM messages") == 12


async def test_runs_of_many_threads_go_through_their_lives_side_by_side(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    thread_ids = [await begun_thread(store) for _ in range(8)]

    async def live(thread_id: str) -> Life:
        life = await Life.begin(store, thread_id)
        await life.claim()
        await life.open_message()
        await life.complete(f"Said on {thread_id}")
        return life

    for life in await _together(*(live(one) for one in thread_ids)):
        assert isinstance(life, Life)
        stored = await store.run(life.id)
        assert stored is not None
        assert (stored.state.run.status, stored.seq) == ("completed", life.seq)
        (said,) = await store.recent_messages(life.thread_id, before=None, limit=5)
        assert said.message.content[0].text.value == f"Said on {life.thread_id}"  # type: ignore[union-attr]
        facts = await store.facts(life.id, after_seq=0, limit=100)
        assert [fact.seq for fact in facts] == list(range(1, life.seq + 1))
    ended = await _transactions(other, "runs", [row["id"] for row in await other.fetch("SELECT id FROM runs")])
    assert len(set(ended)) < len(ended)


async def test_one_that_is_refused_before_it_writes_leaves_the_others_together(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    made = [thread() for _ in range(4)]
    calls = [_add(store, one) for one in made]
    missing = store.add_run(new_run(fresh("thread")))
    *results, refused = await _together(*calls[:2], *calls[2:], missing)
    assert results == [None] * 4
    assert isinstance(refused, Missing)
    assert len(set((await _transactions(other, "threads", [one.id for one in made]))[1:])) == 1


async def test_one_that_is_refused_after_it_wrote_takes_nothing_of_the_others_with_it(store: PostgresStore) -> None:
    busy = await begun_thread(store)
    await Life.begin(store, busy)
    ids = [await begun_thread(store) for _ in range(3)]
    said = [message(one) for one in (*ids, busy)]
    *results, refused = await _together(*(store.add_message(PROJECT, one) for one in said))
    assert results == [None] * 3
    assert isinstance(refused, ThreadBusy)
    assert [await _messages(store, one) for one in ids] == [said[:1], said[1:2], said[2:3]]
    assert await _messages(store, busy) == []


async def _messages(store: PostgresStore, thread_id: str) -> list[StoredMessage]:
    found = await store.recent_messages(thread_id, before=None, limit=100)  # type: ignore[arg-type]
    return [StoredMessage(message=one.message, tokens=one.tokens) for one in reversed(found)]


async def test_what_another_process_has_locked_keeps_nobody_but_who_wants_it(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    ids = [await begun_thread(store) for _ in range(4)]
    held = ids[2]
    async with other.transaction():
        await other.fetch("SELECT id FROM threads WHERE id = $1 FOR UPDATE", held)
        tasks = {one: asyncio.create_task(store.add_message(PROJECT, message(one))) for one in ids}
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*(task for one, task in tasks.items() if one != held))
            await store.add_message(PROJECT, message(ids[0]))
        assert not tasks[held].done()
    async with asyncio.timeout(SECONDS_MAX):
        await tasks[held]
    assert len(await _messages(store, held)) == 1


async def test_writes_about_one_thread_are_done_in_the_order_of_their_calls(store: PostgresStore) -> None:
    thread_id, elsewhere = await begun_thread(store), await begun_thread(store)
    said = [message(thread_id, f"Number {number}") for number in range(6)]
    calls = [store.add_message(PROJECT, one) for one in said]
    await _together(*calls[:3], store.add_message(PROJECT, message(elsewhere)), *calls[3:])
    assert await _messages(store, thread_id) == said


async def test_of_two_appends_behind_the_same_fact_the_second_is_refused(store: PostgresStore) -> None:
    life = await Life.begin(store, await begun_thread(store))
    facts = new_run(life.thread_id).facts[:1]
    busy = _add(store, thread())
    first, second = life.append(life.state, facts), life.append(life.state, facts)
    _, one, two = await _together(busy, store.append(first), store.append(second))
    assert isinstance(one, Appended)
    assert isinstance(two, SeqConflict)


async def test_then_is_called_in_order_before_the_caller_goes_on_and_although_it_went_away(
    store: PostgresStore,
) -> None:
    life = await Life.begin(store, await begun_thread(store))
    told: list[str] = []

    async def append(number: int) -> None:
        facts = new_run(life.thread_id).facts[:1]
        appended = await store.append(
            life.append(life.state, facts, expected_seq=life.seq + number), lambda _: told.append(f"then {number}")
        )
        told.append(f"caller {appended.seq - life.seq - 1}")

    tasks = [asyncio.create_task(append(number)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    async with asyncio.timeout(SECONDS_MAX):
        await asyncio.wait(tasks)
    assert told == ["then 0", "caller 0", "then 1", "then 2", "caller 2"]


async def test_a_lost_connection_fails_its_group_and_nothing_behind_it(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    held = await begun_thread(store)
    async with other.transaction():
        await other.fetch("SELECT id FROM threads WHERE id = $1 FOR UPDATE", held)
        broken = asyncio.create_task(store.add_message(PROJECT, message(held)))
        pid = await polled(lambda: _kept_waiting(other))
        await other.fetch("SELECT pg_terminate_backend($1)", pid)
        await refusal(StoreUnavailable, broken)
    async with asyncio.timeout(SECONDS_MAX):
        await store.add_message(PROJECT, message(held))
    assert len(await _messages(store, held)) == 1


async def _kept_waiting(other: asyncpg.Connection) -> int | None:
    """The process of PostgreSQL's that waits for what this connection holds."""
    blocked = "SELECT pid FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"
    pid: int | None = await other.fetchval(blocked, other.get_server_pid())
    return pid


async def test_a_statement_that_fails_fails_its_own_write_only(store: PostgresStore) -> None:
    def wrong() -> Op[None]:
        yield Query("INSERT INTO threads (id) VALUES (?)", (fresh("thread"),), unread=True)

    def unwritable() -> Op[None]:
        yield Query("UPDATE threads SET messages = ? WHERE id = 'none'", ("no number",), unread=True)

    made = thread()
    failing = [store._write(one, about=fresh("thread")) for one in (wrong, unwritable)]
    results = await _together(_add(store, thread()), *failing, _add(store, made))
    assert [isinstance(one, Exception) for one in results] == [False, True, True, False]
    assert await store.thread_exists(PROJECT, made.id)


async def test_closing_writes_what_was_given_to_write(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    store = await open_postgres(url)
    made = [thread() for _ in range(3)]
    tasks = [asyncio.create_task(_add(store, one)) for one in made]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    await refusal(StoreUnavailable, store.add_thread(PROJECT, thread(), ()))
    again = await open_postgres(url)
    assert [await again.thread_exists(PROJECT, one.id) for one in made] == [True] * 3
    await again.close()
