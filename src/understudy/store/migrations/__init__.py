"""The tables, as numbered steps that are each taken once. A step that was released is never changed: add the next.

Programs of two versions work on one database while an installation is upgraded node by node, so a step may only add:
tables, columns that may be NULL or have a default, indexes that are not unique. What older programs leave empty must
do for newer ones. A step that takes away, renames, or changes what is stored breaks this: its number goes into
`BREAKING`, and it waits for a major version. Behind it, programs that do not know it refuse to start.

To build an index in a step would keep PostgreSQL's writers waiting. So it leaves those out that are added to a table of
an earlier step which has rows, and they are built when all steps are taken (`store/postgres_indexes.py`). They are told
by their shape, `CREATE INDEX name ON table`; the `DROP INDEX` of a later step says `IF EXISTS`, since it may come
first. A unique one, which something may depend on, stays within its step: the version is not reached without it.

`understudy db copy` finds the tables and columns by itself, as they are in SQLite. What only PostgreSQL has is left
out, so it must be such that it can be made of the rest.
"""

import re
from collections.abc import Callable, Sequence, Set
from typing import Final, TypeAlias

from msgspec import Struct

from understudy.store.dialect import Dialect
from understudy.store.migrations.m0001_first import first
from understudy.store.migrations.m0002_files import files
from understudy.store.migrations.m0003_vector_stores import vector_stores
from understudy.store.migrations.m0004_notes import notes
from understudy.store.migrations.m0005_lines import lines
from understudy.store.migrations.m0006_copied import copied
from understudy.store.operations import Op, Query

Migration: TypeAlias = Callable[[Dialect], Sequence[str]]


MIGRATIONS: Final[tuple[Migration, ...]] = (first, files, vector_stores, notes, lines, copied)
# The numbers of the steps behind which programs that do not know them cannot work.
BREAKING: Final[frozenset[int]] = frozenset()


class UnusableDatabase(Exception):
    """The database must not be worked on as it is. Its text is a sentence for the operator."""


class NewerDatabase(UnusableDatabase):
    """A newer version of the program has made it what this one cannot work with."""


class UnfinishedCopy(UnusableDatabase):
    """It holds a part of another database's rows."""


class Index(Struct, frozen=True):
    """One that a step adds to a table of an earlier step."""

    name: str
    table: str
    sql: str


class Schema(Struct, frozen=True, kw_only=True):
    """What a database says of its tables. `compatible` is the oldest version of programs that may work on it."""

    version: int
    compatible: int = 0

    def require(self, known: int) -> None:
        """Raises `NewerDatabase` when a program that knows this many steps cannot work there."""
        if self.compatible > known:
            raise NewerDatabase(
                f"The database has schema version {self.version}, which programs that know less than version "
                f"{self.compatible} cannot use, and this one knows {known}: "
                "start the newer program that wrote it, or restore a backup."
            )


_NEW_TABLE = re.compile(r"CREATE TABLE (\w+)")
_NEW_INDEX = re.compile(r"CREATE INDEX (\w+) ON (\w+)")
_DROPPED = re.compile(r"DROP (?:INDEX|TABLE) (?:IF EXISTS )?(\w+)")

_VERSION = "SELECT COALESCE(MAX(version), 0) FROM schema_version"
_COMPATIBLE = "SELECT value FROM meta WHERE name = 'compatible'"
_BREAK = (
    "INSERT INTO meta (name, value) VALUES ('compatible', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


def schema() -> Op[Schema]:
    """Of a database that has the table of versions."""
    version: int = (yield Query(_VERSION))[0][0]
    rows = (yield Query(_COMPATIBLE)) if version else []
    return Schema(version=version, compatible=rows[0][0] if rows else 0)


def migrate_once(
    dialect: Dialect, migrations: Sequence[Migration] = MIGRATIONS, breaking: Set[int] = BREAKING
) -> Op[int]:
    """Takes the one step that is due next; the version behind it, or 0 when none was. Raises `NewerDatabase`.

    The version is read inside the transaction that takes the step: of two programs that begin together, the second
    finds the step taken.
    """
    yield Query("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)")
    found = yield from schema()
    found.require(len(migrations))
    if found.version >= len(migrations):
        return 0
    due = found.version + 1
    statements = migrations[found.version](dialect)
    beside = {index.sql: index.table for index in _later(statements)} if dialect.builds_beside else {}
    for statement in statements:
        table = beside.get(statement)
        if table is None or not (yield Query(f"SELECT 1 FROM {table} LIMIT 1")):  # noqa: S608 - a name of our own
            yield Query(statement)
    yield Query("INSERT INTO schema_version (version) VALUES (?)", (due,))
    if due in breaking:
        yield Query(_BREAK, (due,))
    return due


def later_indexes(dialect: Dialect, migrations: Sequence[Migration] = MIGRATIONS) -> Sequence[Index]:
    """What a database has of these behind the last of the steps, some of which may have dropped earlier ones' again."""
    found: list[Index] = []
    for migration in migrations:
        statements = migration(dialect)
        gone = {match[1] for statement in statements if (match := _DROPPED.match(statement))}
        found = [index for index in found if not gone & {index.name, index.table}]
        found += _later(statements)
    return found


def _later(statements: Sequence[str]) -> Sequence[Index]:
    """Of one step."""
    new = {match[1] for statement in statements if (match := _NEW_TABLE.match(statement))}
    matches = [match for statement in statements if (match := _NEW_INDEX.match(statement))]
    return [Index(name=match[1], table=match[2], sql=match.string) for match in matches if match[2] not in new]


def refuse_unfinished_copy() -> Op[None]:
    """Raises `UnfinishedCopy`."""
    if (yield Query("SELECT name FROM copied LIMIT 1")):
        raise UnfinishedCopy(
            "The database holds an unfinished copy of another one: begin `understudy db copy` again, as it was given."
        )


def step_name(version: int) -> str:
    """What the step to this version is about."""
    return MIGRATIONS[version - 1].__name__.replace("_", " ") if version <= len(MIGRATIONS) else "unknown"
