"""`understudy db status` and `understudy db upgrade`: where the rows are, what they come to, and what is due."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from understudy.cli.databases import Database, engine, finished, named, shown
from understudy.logs import keep_apart
from understudy.setting_values import without_secrets
from understudy.settings import Settings
from understudy.store.migrations import MIGRATIONS, step_name
from understudy.store.opening import upgrade_database
from understudy.store.sides import open_side
from understudy.store.status import KINDS, Status, look

__all__ = ["status", "upgrade"]


def status(settings: Settings, database: str | None, *, as_json: bool) -> None:
    """Prints where everything is and what is there. Raises `Stop` when it cannot be reached."""
    rows = named(database, "DATABASE", settings)
    found = finished(_look(rows))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(_tree(settings, rows, found)), indent=2).decode())
        return
    lines = {
        "Rows": f"{engine(rows)}, {shown(rows)}",
        "Live events": _events(settings, rows),
        "Content of files": _files(settings, rows),
        "Schema": _schema_words(found),
        **{KINDS[table]: f"{count:,}" for table, count in found.counts.items()},
        "Active runs": f"{found.active_runs:,}",
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name.ljust(width)}  {value}")
    if found.unfinished_copy:
        print("It holds an unfinished copy of another database: begin `understudy db copy` again, as it was given.")


def upgrade(settings: Settings, database: str | None) -> None:
    """Takes the steps that are due and says which they were. Raises `Stop`."""
    keep_apart()
    rows = named(database, "DATABASE", settings)
    if isinstance(rows, Path):
        rows.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for version in finished(upgrade_database(rows, vectors=settings.vector_index == "pgvector")):
        print(f"Took step {version}: {step_name(version)}.")
    print(f"{shown(rows)}: schema {_schema_words(finished(_look(rows)))}.")


async def _look(database: Database) -> Status:
    side = await open_side(database, lasting=False)
    try:
        return await look(side)
    finally:
        await side.close()


def _tree(settings: Settings, database: Database, found: Status) -> Mapping[str, object]:
    return {
        "database": {"engine": engine(database), "place": shown(database)},
        "live_events": _events(settings, database),
        "files": _files(settings, database),
        "schema": {
            "version": found.schema.version,
            "program": len(MIGRATIONS),
            "compatible": found.schema.compatible,
            "upgrade_due": found.schema.version < len(MIGRATIONS) or bool(found.unbuilt),
            "indexes_due": found.unbuilt,
        },
        "unfinished_copy": found.unfinished_copy,
        "rows": found.counts,
        "active_runs": found.active_runs,
    }


def _events(settings: Settings, database: Database) -> str:
    if settings.redis_url is not None:
        return f"Redis, {without_secrets(settings.redis_url)}"
    return "in the memory of one process" if isinstance(database, Path) else "PostgreSQL's NOTIFY, and the log"


def _files(settings: Settings, database: Database) -> str:
    if settings.files_url is not None:
        return settings.files_url
    # A SQLite file need not be that of the settings; the files of its own server are beside it.
    directory = database.parent / settings.files_dir.name if isinstance(database, Path) else settings.files_dir
    return str(directory.absolute())


def _schema_words(found: Status) -> str:
    known, schema = len(MIGRATIONS), found.schema
    if schema.version < known:
        return f"version {schema.version}, and this program's is {known}: `understudy db upgrade` is due"
    if found.unbuilt:
        names = ", ".join(found.unbuilt)
        return f"version {known}, but not all its indexes ({names}): `understudy db upgrade` builds or awaits them"
    if schema.version == known:
        return f"version {schema.version}, up to date"
    usable = "can" if schema.compatible <= known else "cannot"
    return f"version {schema.version}, of a newer program; this one knows {known} and {usable} work with it"
