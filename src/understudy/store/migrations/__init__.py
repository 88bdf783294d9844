"""The tables, as numbered steps that are each taken once. A step that was released is never changed: add the next.

Programs of two versions work on one database while an installation is upgraded node by node, so a step may only add:
tables, columns that may be NULL or have a default, indexes that are not unique. What older programs leave empty must
do for newer ones, and an index must be made quickly, since PostgreSQL keeps writers waiting meanwhile. A step
that takes away, renames, or changes what is stored breaks this: its number goes into `BREAKING`, and it waits for a
major version. Behind it, programs that do not know it refuse to start.

`understudy db copy` finds the tables and columns by itself, as they are in SQLite. What only PostgreSQL has is left
out, so it must be such that it can be made of the rest.
"""

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
    for statement in migrations[found.version](dialect):
        yield Query(statement)
    yield Query("INSERT INTO schema_version (version) VALUES (?)", (due,))
    if due in breaking:
        yield Query(_BREAK, (due,))
    return due


def refuse_unfinished_copy() -> Op[None]:
    """Raises `UnfinishedCopy`."""
    if (yield Query("SELECT name FROM copied LIMIT 1")):
        raise UnfinishedCopy(
            "The database holds an unfinished copy of another one: begin `understudy db copy` again, as it was given."
        )


def step_name(version: int) -> str:
    """What the step to this version is about."""
    return MIGRATIONS[version - 1].__name__.replace("_", " ") if version <= len(MIGRATIONS) else "unknown"
