"""Databases as they are named on a command line, and as they are shown."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from understudy.cli.terminal import Stop
from understudy.ports import BlobRefused, StoreUnavailable
from understudy.setting_values import PostgresUrl, decode, without_secrets
from understudy.settings import Settings
from understudy.store.copying import CopyRefused
from understudy.store.migrations import UnusableDatabase

__all__ = ["Database", "engine", "finished", "named", "shown"]

T = TypeVar("T")
Database: TypeAlias = Path | str  # a SQLite file, or a URL

_FILE_NAME: Final = "understudy.db"
_SQLITE: Final = "sqlite:"


def named(text: str | None, what: str, settings: Settings) -> Database:
    """`sqlite:` with a file or a data directory, or a PostgreSQL URL; the settings' database where nothing is named.

    Raises `Stop`, `SettingError`.
    """
    if text is None:
        return settings.database
    if text.startswith(_SQLITE):
        path = Path(text.removeprefix(_SQLITE)).expanduser()
        # What is to be made is a data directory unless its name is a file's.
        is_directory = path.is_dir() or not (path.exists() or path.suffix)
        return path / _FILE_NAME if is_directory else path
    if text.startswith(("postgresql:", "postgres:")):
        return str(decode(text, PostgresUrl, what=what, source="the command line", strict=False, secret=True))
    raise Stop(f"{what} must be sqlite:PATH or a URL that begins with postgresql://.")


def engine(database: Database) -> str:
    return "SQLite" if isinstance(database, Path) else "PostgreSQL"


def shown(database: Database) -> str:
    """Where it is, without secrets."""
    return str(database.absolute()) if isinstance(database, Path) else without_secrets(database)


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What it comes to. Raises `Stop` where a database or a place of files cannot be used."""
    try:
        return asyncio.run(work)
    except (OSError, StoreUnavailable, UnusableDatabase, CopyRefused, BlobRefused) as error:
        raise Stop(f"{str(error).rstrip('.')}.") from error
