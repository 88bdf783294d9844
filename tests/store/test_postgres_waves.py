"""Statements that nobody reads the rows of go to PostgreSQL together, and never two about one table."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from support.postgres import database_url
from understudy.store.operations import Op, Query
from understudy.store.postgres_waves import Waves, drive, tables, text

INSERT_A = "INSERT INTO a (n) VALUES (?)"
INSERT_B = "INSERT INTO b (n) VALUES (?)"


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(database_url(tmp_path))
    await made.execute("CREATE TABLE a (n BIGINT); CREATE TABLE b (n BIGINT)")
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("SELECT 1", set()),
        ("SELECT a.n FROM a JOIN b ON b.n = a.n WHERE a.n IN (SELECT n FROM c)", {"a", "b", "c"}),
        ("INSERT INTO a (n) SELECT n FROM b", {"a", "b"}),
        ("UPDATE a SET n = (SELECT MAX(n) FROM b)", {"a", "b"}),
        ("DELETE FROM a WHERE EXISTS (SELECT 1 FROM b)", {"a", "b"}),
    ],
)
def test_the_tables_of_a_statement_are_found(sql: str, named: set[str]) -> None:
    assert tables(sql) == named


def test_statements_about_different_tables_are_one_and_those_about_the_same_keep_their_order() -> None:
    waves = Waves()
    queries = [Query(INSERT_A, (1,)), Query(INSERT_B, (2,)), Query("UPDATE a SET n = n + ?", (3,))]
    for query in queries:
        waves.add(query)
    assert waves.take(None) == [queries[:2], queries[2:]]
    assert waves.take(None) == []


def test_what_is_read_goes_with_the_last_statements_or_behind_them() -> None:
    waves = Waves()
    write, read = Query(INSERT_A, (1,), unread=True), Query("SELECT n FROM b WHERE n = ?", (2,), locks=True)
    waves.add(write)
    (wave,) = waves.take(read)
    assert text(wave) == f"WITH wave_0 AS ({INSERT_A.replace('?', '$1')}) SELECT n FROM b WHERE n = $2 FOR UPDATE"
    waves.add(write)
    same = Query("SELECT n FROM a")
    assert waves.take(same) == [[write], [same]]


async def test_an_operation_reads_what_it_wrote_before(connection: asyncpg.Connection) -> None:
    def operation() -> Op[list[int]]:
        assert (yield Query(INSERT_A, (1,), unread=True)) == ()
        yield Query(INSERT_B, (10,), unread=True)
        yield Query("UPDATE a SET n = n + ?", (1,), unread=True)
        yield Query("INSERT INTO b (n) SELECT n FROM a", unread=True)
        rows = yield Query("SELECT n FROM b ORDER BY n")
        return [row[0] for row in rows]

    assert await drive(connection, operation()) == [2, 10]


async def test_what_an_operation_writes_last_is_written(connection: asyncpg.Connection) -> None:
    def operation() -> Op[None]:
        for number in range(5):
            yield Query(INSERT_A, (number,), unread=True)

    await drive(connection, operation())
    assert await connection.fetchval("SELECT SUM(n) FROM a") == 10
