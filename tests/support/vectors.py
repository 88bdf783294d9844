"""Vector stores by hand: files to attach, stores that have them, and a worker that indexes without reading any."""

from collections.abc import Sequence

from support.store import NOON, PROJECT, fresh
from understudy.core.ids import ProjectId
from understudy.core.vector_stores import AUTO_CHUNKING, new_vector_store
from understudy.ports import (
    Chunk,
    Embedding,
    IngestJob,
    NewStoreFile,
    NewVectorStore,
    PageQuery,
    Rows,
    Store,
    StoredFile,
    StoredVectorStore,
)
from understudy.store.files import insert_file
from understudy.store.operations import Op
from understudy.wire.files import File
from understudy.wire.vector_stores import CreateVectorStore, VectorStoreFile, VectorStoreFileBatch

SPACE = Embedding(model="static", dimensions=4)
OTHER_SPACE = Embedding(model="other", dimensions=2)
ALL = PageQuery(limit=100, descending=False)


async def added_file(store: Store, name: str = "notes.txt", project: ProjectId = PROJECT) -> str:
    (file_id,) = await _add_files(store, [name], project)
    return file_id


async def added_files(store: Store, count: int) -> Sequence[str]:
    return await _add_files(store, [f"{number}.txt" for number in range(count)], PROJECT)


async def _add_files(store: Store, names: Sequence[str], project: ProjectId) -> list[str]:
    made = [File(id=fresh("file"), bytes=5, created_at=NOON, filename=name, purpose="assistants") for name in names]

    def add() -> Op[None]:
        for file in made:
            stored = StoredFile(file=file, blob=f"blob-{file.id}", mime_type="text/plain")
            yield from insert_file(project, stored)

    await store._write(add)
    return [file.id for file in made]


def new_store(*file_ids: str, embedding: Embedding | None = None, **fields: object) -> NewVectorStore:
    made = new_vector_store(CreateVectorStore(**fields), store_id=fresh("vector store"), at=NOON)
    return NewVectorStore(store=made, embedding=embedding, files=[new_file(file_id) for file_id in file_ids])


def new_file(file_id: str, **attributes: str | float | bool) -> NewStoreFile:
    return NewStoreFile(file_id=file_id, chunking=AUTO_CHUNKING, attributes=attributes)


async def added_store(store: Store, *file_ids: str, embedding: Embedding | None = None, **fields: object) -> str:
    new = new_store(*file_ids, embedding=embedding, **fields)
    return (await store.add_vector_store(PROJECT, new)).id


async def stored(store: Store, store_id: str) -> StoredVectorStore:
    found = await store.vector_store(PROJECT, store_id)
    assert found is not None
    return found


async def attached(store: Store, store_id: str, file_id: str) -> VectorStoreFile:
    found = await store.store_file(PROJECT, store_id, file_id)
    assert found is not None
    return found


def new_batch(store_id: str) -> VectorStoreFileBatch:
    return VectorStoreFileBatch(id=fresh("file batch"), created_at=NOON, vector_store_id=store_id)


def chunk(number: int, text: str = "", *, dimensions: int | None = 4) -> Chunk:
    vector = None if dimensions is None else bytes([number % 256, 0]) * dimensions
    return Chunk(number=number, text=text or f"passage {number}", tokens=2, terms=b"t%d" % number, vector=vector)


async def claimed(store: Store, owner: str = "w", now: float = NOON, limit: int = 100) -> Sequence[IngestJob]:
    return await store.claim_ingest(owner, now, now + 15, limit=limit)


async def indexed(store: Store, *texts: str) -> Sequence[IngestJob]:
    """Claims all that is to be indexed, and gives each file these chunks."""
    jobs = await claimed(store, "indexer")
    for job in jobs:
        dimensions = None if job.embedding is None else job.embedding.dimensions
        chunks = [chunk(number, text, dimensions=dimensions) for number, text in enumerate(texts)]
        assert await store.put_chunks("indexer", job.generation, chunks)
        assert await store.finish_ingest("indexer", job.generation, chunks=len(chunks), usage_bytes=10 * len(chunks))
    return jobs


async def pruned(store: Store) -> None:
    while await store.prune_index(chunks=2, files=2):
        pass


async def store_files(
    store: Store, store_id: str, query: PageQuery = ALL, *, status: str | None = None, batch_id: str | None = None
) -> Rows:
    return await store.store_files_page(PROJECT, store_id, query, status=status, batch_id=batch_id)
