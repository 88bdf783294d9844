"""The tables, as numbered steps that are each taken once. A step that was released is never changed: add the next."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from understudy.store.dialect import Dialect
from understudy.store.migrations.m0001_first import first
from understudy.store.migrations.m0002_files import files
from understudy.store.migrations.m0003_vector_stores import vector_stores
from understudy.store.migrations.m0004_notes import notes
from understudy.store.migrations.m0005_lines import lines
from understudy.store.operations import Op, Query

Migration: TypeAlias = Callable[[Dialect], Sequence[str]]

MIGRATIONS: Final[tuple[Migration, ...]] = (first, files, vector_stores, notes, lines)


class NewerDatabase(Exception):
    """The database was made by a newer version of the program."""


def migrate_once(dialect: Dialect, migrations: Sequence[Migration] = MIGRATIONS) -> Op[bool]:
    """Takes the one step that is due next; False when none was. Raises `NewerDatabase`.

    The version is read inside the transaction that takes the step: of two programs that begin together, the second
    finds the step taken.
    """
    yield Query("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)")
    rows = yield Query("SELECT COALESCE(MAX(version), 0) FROM schema_version")
    version: int = rows[0][0]
    if version > len(migrations):
        raise NewerDatabase(
            f"The database has schema version {version}, but this program knows only {len(migrations)}: "
            "start the newer program that wrote it, or restore a backup."
        )
    if version == len(migrations):
        return False
    for statement in migrations[version](dialect):
        yield Query(statement)
    yield Query("INSERT INTO schema_version (version) VALUES (?)", (version + 1,))
    return True
