"""Which engine keeps the rows: it follows from where they are."""

from pathlib import Path

from understudy.ports import StoreUnavailable, VectorIndex
from understudy.store.rows import RowStore
from understudy.store.sqlite import open_sqlite


async def open_store(database: Path | str) -> RowStore:
    """A SQLite file's store, or that of a `postgresql://` URL, made where it is missing, its tables up to date.

    Raises `NewerDatabase`, `StoreUnavailable`.
    """
    if isinstance(database, Path):
        return await open_sqlite(database)
    try:
        from understudy.store.postgres import open_postgres
    except ImportError as error:
        raise StoreUnavailable("PostgreSQL needs its client: pip install 'understudy[scale]'") from error
    return await open_postgres(database)


async def open_vector_index(store: object, url: str) -> VectorIndex:
    """The vectors of the store of this `postgresql://` URL, compared by pgvector. Raises `StoreUnavailable`."""
    from understudy.store.pgvector import open_pgvector
    from understudy.store.postgres import PostgresStore

    assert isinstance(store, PostgresStore), "the URL says so"
    return await open_pgvector(store, url)
