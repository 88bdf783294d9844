"""Which engine keeps the rows: it follows from where they are."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from understudy.ports import StoreUnavailable
from understudy.store.rows import RowStore
from understudy.store.sqlite import open_sqlite, upgrade_sqlite

_NO_CLIENT = "PostgreSQL needs its client: pip install 'understudy[scale]'"


async def open_store(database: Path | str) -> RowStore:
    """A SQLite file's store, or that of a `postgresql://` URL, made where it is missing, its tables up to date.

    Raises `UnusableDatabase`, `StoreUnavailable`.
    """
    if isinstance(database, Path):
        return await open_sqlite(database)
    try:
        from understudy.store.postgres import open_postgres
    except ImportError as error:
        raise StoreUnavailable(_NO_CLIENT) from error
    return await open_postgres(database)


async def upgrade_database(database: Path | str) -> Sequence[int]:
    """The versions behind the steps that this call took; several processes may ask at once.

    Raises `NewerDatabase`, `StoreUnavailable`.
    """
    if isinstance(database, Path):
        return await asyncio.to_thread(upgrade_sqlite, database)
    try:
        from understudy.store.postgres import upgrade_postgres
    except ImportError as error:
        raise StoreUnavailable(_NO_CLIENT) from error
    return await upgrade_postgres(database)
