"""The writing thread: groups, and that no operation takes its group with it."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.store import refusal
from understudy.ports import StoreRefusal, StoreUnavailable
from understudy.store.operations import Op, Query
from understudy.store.writer import Writer


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS numbers (n INTEGER PRIMARY KEY)")
    return connection


class _Log:
    """The statements that a connection runs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.statements: list[str] = []
        connection.set_trace_callback(self.statements.append)

    def commits(self) -> int:
        return self.statements.count("COMMIT")


@asynccontextmanager
async def _writer(path: Path, **limits: int) -> AsyncIterator[tuple[Writer, _Log]]:
    connection = _connect(path)
    writer = Writer(connection, **limits)
    try:
        yield writer, _Log(connection)
    finally:
        await writer.close()


def _add(n: int) -> Callable[[], Op[int]]:
    def operation() -> Op[int]:
        rows = yield Query("INSERT INTO numbers (n) VALUES (?) RETURNING n", (n,))
        found: int = rows[0][0]
        return found

    return operation


def _add_and_raise(n: int, error: Exception) -> Callable[[], Op[int]]:
    def operation() -> Op[int]:
        yield from _add(n)()
        raise error

    return operation


class _Held:
    """An operation that keeps the writer at work until it is let go, so that others gather behind it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._go = threading.Event()

    def operation(self) -> Op[None]:
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self._go.wait(10)
        yield Query("SELECT 1")

    def let_go(self) -> None:
        self._go.set()


async def _gather_behind(writer: Writer, operations: list[Callable[[], Op[int]]]) -> list[int | BaseException]:
    """The outcomes of operations that were all waiting when the writer came to them."""
    held = _Held()
    first = asyncio.create_task(writer.write(held.operation))
    await held.begun.wait()
    tasks = [asyncio.create_task(writer.write(operation)) for operation in operations]
    await asyncio.sleep(0)
    held.let_go()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def _numbers(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    try:
        return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]
    finally:
        connection.close()


async def test_operations_that_wait_are_committed_together(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db") as (writer, log):
        assert await _gather_behind(writer, [_add(n) for n in range(50)]) == list(range(50))
        assert log.commits() == 2
    assert _numbers(tmp_path / "w.db") == list(range(50))


async def test_a_group_is_no_larger_than_its_limit(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db", group_max=10) as (writer, log):
        await _gather_behind(writer, [_add(n) for n in range(25)])
        assert log.commits() == 1 + 3


async def test_an_operation_that_fails_leaves_its_group_alone(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db") as (writer, log):
        outcomes = await _gather_behind(
            writer,
            [
                _add(1),
                _add_and_raise(2, StoreRefusal("no")),
                _add(1),
                _add(3),
                _add_and_raise(4, ValueError("a mistake")),
                _add(5),
            ],
        )
        assert log.commits() == 2
    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [
        1,
        StoreRefusal,
        sqlite3.IntegrityError,
        3,
        ValueError,
        5,
    ]
    assert _numbers(tmp_path / "w.db") == [1, 3, 5]


async def test_when_the_engine_fails_within_a_group_each_is_tried_alone(tmp_path: Path) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    async with _writer(tmp_path / "w.db") as (writer, _):
        outcomes = await _gather_behind(
            writer, [_add(1), _add_and_raise(2, full), _add_and_raise(3, StoreRefusal("no")), _add(4)]
        )
    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [
        1,
        StoreUnavailable,
        StoreRefusal,
        4,
    ]
    assert _numbers(tmp_path / "w.db") == [1, 4]


async def test_a_write_that_failed_leaves_the_file_unlocked(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db") as (writer, _):
        error = sqlite3.OperationalError("disk I/O error")
        await refusal(StoreUnavailable, writer.write(_add_and_raise(1, error)))
        other = _connect(tmp_path / "w.db")
        other.execute("BEGIN IMMEDIATE")
        other.close()


async def test_a_commit_that_fails_acknowledges_nothing(tmp_path: Path) -> None:
    """Deferred foreign keys fail at COMMIT: a commit that the engine refuses, without a broken disk."""
    async with _writer(tmp_path / "w.db") as (writer, _):

        def prepare() -> Op[int]:
            yield Query("CREATE TABLE child (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED)")
            return 0

        def orphan() -> Op[int]:
            yield Query("INSERT INTO child (n) VALUES (99)")
            return 99

        writer._connection.execute("PRAGMA foreign_keys = ON")
        await writer.write(prepare)
        outcomes = await _gather_behind(writer, [_add(1), orphan, _add(2)])
        assert outcomes[0] == 1
        assert isinstance(outcomes[1], StoreUnavailable)
        assert outcomes[2] == 2
        assert await writer.write(_add(3)) == 3
    assert _numbers(tmp_path / "w.db") == [1, 2, 3]


async def test_a_caller_who_goes_away_leaves_its_group_alone(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db") as (writer, _):
        held = _Held()
        first = asyncio.create_task(writer.write(held.operation))
        await held.begun.wait()
        tasks = [asyncio.create_task(writer.write(_add(n))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        held.let_go()
        await first
        assert [await tasks[0], await tasks[2]] == [0, 2]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]


async def test_what_is_durable_is_told_in_order_before_callers_go_on_and_without_them(tmp_path: Path) -> None:
    told: list[int] = []

    async def write(n: int) -> None:
        await writer.write(_add(n), told.append)
        assert n in told

    async with _writer(tmp_path / "w.db") as (writer, _):
        held = _Held()
        first = asyncio.create_task(writer.write(held.operation))
        await held.begun.wait()
        tasks = [asyncio.create_task(write(n)) for n in range(3)]
        failing = asyncio.create_task(writer.write(_add_and_raise(7, ValueError()), told.append))
        await asyncio.sleep(0)
        tasks[1].cancel()
        held.let_go()
        await asyncio.gather(first, *tasks, failing, return_exceptions=True)
        assert [task.cancelled() for task in tasks] == [False, True, False]
        assert tasks[2].exception() is None
    assert told == [0, 1, 2]


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db", queue_max=2) as (writer, _):
        held = _Held()
        first = asyncio.create_task(writer.write(held.operation))
        await held.begun.wait()
        tasks = [asyncio.create_task(writer.write(_add(n))) for n in range(2)]
        await asyncio.sleep(0)
        await refusal(StoreUnavailable, writer.write(_add(9)))
        held.let_go()
        await first
        assert [await task for task in tasks] == [0, 1]
        assert await writer.write(_add(9)) == 9


async def test_a_lock_that_is_not_given_fails_the_group_and_no_later_one(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db") as (writer, _):
        other = _connect(tmp_path / "w.db")
        other.execute("BEGIN IMMEDIATE")
        await refusal(StoreUnavailable, writer.write(_add(1)))
        outcomes = await asyncio.gather(*(writer.write(_add(n)) for n in range(5)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        other.execute("ROLLBACK")
        other.close()
        assert await writer.write(_add(1)) == 1


async def test_closing_writes_what_waits_and_ends_the_thread(tmp_path: Path) -> None:
    async with _writer(tmp_path / "w.db") as (writer, _):
        held = _Held()
        first = asyncio.create_task(writer.write(held.operation))
        await held.begun.wait()
        tasks = [asyncio.create_task(writer.write(_add(n))) for n in range(3)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(writer.close())
        await asyncio.sleep(0)
        await refusal(StoreUnavailable, writer.write(_add(9)))
        held.let_go()
        await closing
        await first
        assert [await task for task in tasks] == [0, 1, 2]
    assert not any(thread.name == "sqlite-writer" for thread in threading.enumerate())
