"""Databases with rows in every table, and copies of them as `understudy db copy` makes them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

from understudy.store.copying import Copied, Copy
from understudy.store.opening import upgrade_database
from understudy.store.sides import open_side
from understudy.store.sqlite import upgrade_sqlite

__all__ = ["copy", "fill"]


def fill(path: Path, *, rows: int = 7) -> None:
    """Makes the database, with this many rows in every table: other values in every column, and NULL where that may be.

    It knows nothing of the tables, so it also fills those that are new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    upgrade_sqlite(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' "
            "AND name NOT IN ('schema_version', 'copied')"
        ).fetchall()
        for (table,) in tables:
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            names = ", ".join(column[1] for column in columns)
            marks = ", ".join("?" * len(columns))
            made = [tuple(_value(number, *column[2:6]) for column in columns) for number in range(1, rows + 1)]
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", made)
        connection.commit()


_numbers = count(1)


def _value(row: int, type_: str, not_null: int, _default: object, key: int) -> object:
    if row % 5 == 0 and not not_null and not key:
        return None
    number = next(_numbers)
    match type_:
        case "INTEGER":
            return row * 3 if key else number * 2**40 + row
        case "REAL":
            return number / 7
        case "BLOB":
            return bytes(range(256)) + str(number).encode()
        case _:
            return f"ü漢{number}" + "\U0001f40d" * (row % 3)


async def copy(
    source: Path | str, target: Path | str, *, tell: Callable[[str, str, int, int], None] = lambda *_: None
) -> Copied:
    """As the command does it, to its end."""
    await upgrade_database(target)
    here, there = await open_side(source), await open_side(target, writes=True)
    try:
        made = Copy(here, there, source_name=str(source), tell=tell)
        copied = await made.run()
        await made.end()
        return copied
    finally:
        await here.close()
        await there.close()
