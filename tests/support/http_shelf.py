"""Vector stores over HTTP, of a server that indexes nothing by itself: what is indexed, and when, is the test's to say.

async with open_shelf(tmp_path) as shelf:
    store = await shelf.store(await shelf.file("a.txt"))
    await shelf.index("first passage", "second passage")
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.client import Client
from support.files import new_file
from support.server import RunningServer, running_server
from understudy.ports import Chunk, IngestJob, Store
from understudy.retrieval.terms import term_counts
from understudy.store.opening import open_store
from understudy.wire.vector_stores import FileErrorCode

__all__ = ["Shelf", "open_shelf", "path_of"]


class Shelf:
    """A server, and its rows as another process has them."""

    def __init__(self, server: RunningServer, rows: Store) -> None:
        self.server = server
        self.client: Client = server.client
        self.rows = rows
        self._now = 1e9  # each claim finds the leases of the last run out

    async def file(self, name: str = "notes.txt") -> str:
        made: str = (await new_file(self.client, filename=name))["id"]
        return made

    async def files(self, count: int) -> Sequence[str]:
        return [await self.file(f"{number}.txt") for number in range(count)]

    async def store(self, *file_ids: str, **body: Any) -> Any:
        return await self.client.post("/v1/vector_stores", {"file_ids": list(file_ids), **body})

    async def attach(self, store: Any, file_id: str, **body: Any) -> Any:
        return await self.client.post(f"{path_of(store)}/files", {"file_id": file_id, **body})

    async def claim(self) -> Sequence[IngestJob]:
        self._now += 100
        return await self.rows.claim_ingest("shelf", self._now, self._now + 10, limit=10_000)

    async def index(self, *texts: str) -> None:
        """Every file that waits gets these passages."""
        for job in await self.claim():
            chunks = [
                Chunk(number=number, text=text, tokens=1, terms=term_counts(text)) for number, text in enumerate(texts)
            ]
            assert await self.rows.put_chunks("shelf", job.generation, chunks)
            usage = sum(len(text) for text in texts)
            assert await self.rows.finish_ingest("shelf", job.generation, chunks=len(texts), usage_bytes=usage)

    async def fail(self, code: FileErrorCode, message: str) -> None:
        """No file that waits can be indexed."""
        for job in await self.claim():
            assert await self.rows.fail_ingest("shelf", job.generation, code, message)


def path_of(store: Any) -> str:
    return f"/v1/vector_stores/{store['id']}"


@asynccontextmanager
async def open_shelf(directory: Path, **settings: Any) -> AsyncIterator[Shelf]:
    async with running_server(None, directory, worker=False, **settings) as server:
        rows = await open_store(server.settings.database)
        try:
            yield Shelf(server, rows)
        finally:
            await rows.close()
