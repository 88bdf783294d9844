"""Which engine keeps the rows: it follows from where they are."""

from pathlib import Path

from understudy.ports import StoreUnavailable
from understudy.store.rows import RowStore
from understudy.store.sqlite import open_sqlite


async def open_store(database: Path | str) -> RowStore:
    """A SQLite file's store, or that of a `postgresql://` URL, made where it is missing, its tables up to date.

    Raises `UnusableDatabase`, `StoreUnavailable`.
    """
    if isinstance(database, Path):
        return await open_sqlite(database)
    try:
        from understudy.store.postgres import open_postgres
    except ImportError as error:
        raise StoreUnavailable("PostgreSQL needs its client: pip install 'understudy[scale]'") from error
    return await open_postgres(database)
