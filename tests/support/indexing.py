"""Vector stores over real content: the store, a directory of files, and the children that read them, put together.

    async with open_desk(tmp_path) as desk:
        file_id = await desk.add("notes.txt", "Some words.")
        store_id = await desk.store_with(file_id)
        await desk.index()
        assert (await desk.file(store_id, file_id)).status == "completed"

Two desks on one directory are two processes on one database.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from support.search import FixedEmbedders
from support.store import PROJECT
from support.talk import polled
from support.vectors import added_store, new_file
from understudy import entropy
from understudy.blobs.local import open_local_blobs
from understudy.documents.reader import ChildDocuments
from understudy.embeddings.static import STATIC
from understudy.engine.files import Files
from understudy.engine.ingest import Ingest
from understudy.ports import Blobs, Clock, Embedder, Embedding, IngestJob
from understudy.store.sqlite import SqliteStore, open_sqlite
from understudy.wire.vector_stores import VectorStoreFile

__all__ = ["OWNER", "WORDS", "Desk", "open_desk"]

OWNER = "here"
WORDS = "The quick brown fox jumps over the lazy dog. "


class Desk:
    def __init__(self, store: SqliteStore, blobs: Blobs, documents: ChildDocuments, clock: Clock) -> None:
        self.store = store
        self.blobs = blobs
        self.documents = documents
        self.clock = clock
        self._files = Files(store, blobs, clock, entropy.new_id)

    def ingest(self, *embedders: Embedder, **options: float) -> Ingest:
        made = FixedEmbedders(*embedders)
        return Ingest(self.store, self.blobs, self.documents, made, self.clock, built_in=STATIC, **options)

    async def add(self, name: str, content: str | bytes) -> str:
        """The id of a file of the project's."""
        raw = content if isinstance(content, bytes) else content.encode()

        async def pieces() -> AsyncIterator[bytes]:
            yield raw

        return (await self._files.create(PROJECT, pieces(), filename=name, purpose="assistants")).id

    async def store_with(self, *file_ids: str, embedding: Embedding | None = None) -> str:
        return await added_store(self.store, *file_ids, embedding=embedding)

    async def attach(self, store_id: str, file_id: str) -> None:
        await self.store.attach_files(PROJECT, store_id, [new_file(file_id)], at=int(self.clock()))

    async def claim(self, owner: str = OWNER, seconds: float = 15, limit: int = 10) -> Sequence[IngestJob]:
        now = self.clock()
        return await self.store.claim_ingest(owner, now, now + seconds, limit=limit)

    async def index(self, *embedders: Embedder, **options: float) -> None:
        """Does what there is to do once."""
        ingest = self.ingest(*embedders, **options)
        for job in await self.claim():
            await ingest.index(job, OWNER)

    async def file(self, store_id: str, file_id: str) -> VectorStoreFile:
        found = await self.store.store_file(PROJECT, store_id, file_id)
        assert found is not None
        return found

    async def texts(self, store_id: str, file_id: str) -> Sequence[str]:
        return await self.store.file_texts(store_id, file_id)

    async def until(self, store_id: str, file_id: str, status: str, seconds: float = 20.0) -> VectorStoreFile:
        async def look() -> VectorStoreFile | None:
            found = await self.file(store_id, file_id)
            return found if found.status == status else None

        return await polled(look, seconds=seconds)


@asynccontextmanager
async def open_desk(
    directory: Path, documents: ChildDocuments | None = None, *, clock: Clock = entropy.now
) -> AsyncIterator[Desk]:
    """`documents` may be shared with others, and are then left open."""
    own = documents or ChildDocuments(places=2, weights=directory / "weights")
    store = await open_sqlite(directory / "understudy.db")
    try:
        yield Desk(store, await open_local_blobs(directory / "files"), own, clock)
    finally:
        await store.close()
        if documents is None:
            await own.close()
