"""Which engine keeps the rows: it follows from where they are."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from understudy.ports import StoreUnavailable, VectorIndex
from understudy.store.mounts import network_file_system
from understudy.store.rows import RowStore
from understudy.store.sqlite import open_sqlite, upgrade_sqlite

_NO_CLIENT = "PostgreSQL needs its client: pip install 'understudy[scale]'"


async def open_store(database: Path | str) -> RowStore:
    """A SQLite file's store, or that of a `postgresql://` URL, made where it is missing, its tables up to date.

    Raises `UnusableDatabase`, `StoreUnavailable`.
    """
    if isinstance(database, Path):
        await asyncio.to_thread(_require_own_disk, database)
        return await open_sqlite(database)
    try:
        from understudy.store.postgres import open_postgres
    except ImportError as error:
        raise StoreUnavailable(_NO_CLIENT) from error
    return await open_postgres(database)


async def open_vector_index(store: object, url: str) -> VectorIndex:
    """The vectors of the store of this `postgresql://` URL, compared by pgvector. Raises `StoreUnavailable`."""
    from understudy.store.pgvector import open_pgvector
    from understudy.store.postgres import PostgresStore

    assert isinstance(store, PostgresStore), "the URL says so"
    return await open_pgvector(store, url)


async def upgrade_database(database: Path | str, *, vectors: bool = False) -> Sequence[int]:
    """The versions behind the steps that this call took; several processes may ask at once.

    `vectors`: PostgreSQL is to compare them from now on, which takes its time once. Raises `NewerDatabase`,
    `StoreUnavailable`.
    """
    if isinstance(database, Path):
        await asyncio.to_thread(_require_own_disk, database)
        return await asyncio.to_thread(upgrade_sqlite, database)
    try:
        from understudy.store.postgres import upgrade_postgres
    except ImportError as error:
        raise StoreUnavailable(_NO_CLIENT) from error
    taken = await upgrade_postgres(database)
    if vectors:
        from understudy.store.pgvector import make_ready

        await make_ready(database)
    return taken


def _require_own_disk(database: Path) -> None:
    kind = network_file_system(database)
    if kind is not None:
        raise StoreUnavailable(
            f"A SQLite file does not work on a network file system, and {database.parent} is on one ({kind}): set "
            "data_dir to a disk of this machine, or database_url to a PostgreSQL database that machines share."
        )
