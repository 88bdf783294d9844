"""The steps that make and change the tables."""

from pathlib import Path

import pytest

from support.store import refusal
from understudy.store.migrations import MIGRATIONS, NewerDatabase, migrate_once
from understudy.store.operations import Op, Query
from understudy.store.sqlite import SQLITE, _connect, _in_transaction, open_sqlite


async def test_a_newer_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "u.db")

    def later() -> Op[None]:
        yield Query("INSERT INTO schema_version (version) VALUES (?)", (len(MIGRATIONS) + 1,))

    await store._write(later)
    await store.close()
    newer = await refusal(NewerDatabase, open_sqlite(tmp_path / "u.db"))
    assert str(newer) == (
        f"The database has schema version {len(MIGRATIONS) + 1}, but this program knows only {len(MIGRATIONS)}: "
        "start the newer program that wrote it, or restore a backup."
    )


def test_each_step_is_taken_once_and_a_failing_one_leaves_the_last(tmp_path: Path) -> None:
    connection = _connect(tmp_path / "u.db")
    steps = [lambda _: ["CREATE TABLE a (n INTEGER)"], lambda _: ["CREATE TABLE b (n INTEGER)", "NOT SQL"]]
    assert _in_transaction(connection, migrate_once(SQLITE, steps))
    with pytest.raises(Exception, match="syntax"):
        _in_transaction(connection, migrate_once(SQLITE, steps))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"schema_version", "a"}
    steps[1] = lambda _: ["CREATE TABLE b (n INTEGER)"]
    assert _in_transaction(connection, migrate_once(SQLITE, steps))
    assert not _in_transaction(connection, migrate_once(SQLITE, steps))
    connection.close()
