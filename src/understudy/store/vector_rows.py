"""`ports.VectorRows` on any engine that can run operations: which operation answers which call."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from understudy.core.ids import ProjectId
from understudy.core.limits import CHUNKS_PRUNED_MAX, STORE_FILES_PRUNED_MAX
from understudy.ports import (
    ChangeStore,
    Chunk,
    ChunkKey,
    Embedding,
    IndexHead,
    IndexRow,
    IngestJob,
    NewStoreFile,
    NewVectorStore,
    PageQuery,
    Rows,
    StoredVectorStore,
    VectorRows,
)
from understudy.store import chunks, file_batches, ingest, letting_go, vector_files, vector_stores
from understudy.store.operations import Op
from understudy.wire.vector_stores import (
    Attributes,
    FileErrorCode,
    FileStatus,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)

T = TypeVar("T")


class VectorRowStore(VectorRows, Protocol):
    """The part of a store that is about vector stores, without its engine."""

    async def _read(self, operation: Op[T]) -> T: ...

    async def _read_long(self, operation: Op[T]) -> T:
        """A read that may take seconds, for engines that would keep others waiting."""
        return await self._read(operation)

    async def _write(self, operation: Callable[[], Op[T]]) -> T: ...

    # stores

    async def add_vector_store(self, project: ProjectId, new: NewVectorStore) -> VectorStore:
        return await self._write(partial(vector_stores.add_vector_store, project, new))

    async def vector_store(self, project: ProjectId, store_id: str) -> StoredVectorStore | None:
        return await self._read(vector_stores.vector_store(project, store_id))

    async def vector_stores_page(self, project: ProjectId, query: PageQuery) -> Rows:
        return await self._read(vector_stores.vector_stores_page(project, query))

    async def update_vector_store(self, project: ProjectId, store_id: str, change: ChangeStore) -> VectorStore:
        return await self._write(partial(vector_stores.update_vector_store, project, store_id, change))

    async def delete_vector_store(self, project: ProjectId, store_id: str) -> bool:
        return await self._write(partial(vector_stores.delete_vector_store, project, store_id))

    async def use_vector_stores(self, store_ids: Sequence[str], at: int) -> None:
        await self._write(partial(vector_stores.use_vector_stores, store_ids, at))

    async def expire_vector_stores(self, now: int, *, limit: int) -> int:
        return await self._write(partial(vector_stores.expire_vector_stores, now, limit))

    async def prune_index(self, *, chunks: int = CHUNKS_PRUNED_MAX, files: int = STORE_FILES_PRUNED_MAX) -> bool:
        return await self._write(partial(letting_go.prune_index, chunks, files))

    # their files

    async def attach_files(
        self,
        project: ProjectId,
        store_id: str,
        files: Sequence[NewStoreFile],
        *,
        at: int,
        batch: VectorStoreFileBatch | None = None,
    ) -> Sequence[VectorStoreFile]:
        return await self._write(partial(vector_files.attach_files, project, store_id, files, at, batch))

    async def store_file(self, project: ProjectId, store_id: str, file_id: str) -> VectorStoreFile | None:
        return await self._read(vector_files.store_file(project, store_id, file_id))

    async def store_files_page(
        self, project: ProjectId, store_id: str, query: PageQuery, *, status: FileStatus | None, batch_id: str | None
    ) -> Rows:
        return await self._read(vector_files.store_files_page(project, store_id, query, status, batch_id))

    async def set_attributes(
        self, project: ProjectId, store_id: str, file_id: str, attributes: Attributes
    ) -> VectorStoreFile:
        return await self._write(partial(vector_files.set_attributes, project, store_id, file_id, attributes))

    async def detach_file(self, project: ProjectId, store_id: str, file_id: str) -> bool:
        return await self._write(partial(vector_files.detach_file, project, store_id, file_id))

    async def file_texts(self, store_id: str, file_id: str) -> Sequence[str]:
        return await self._read_long(chunks.file_texts(store_id, file_id))

    async def batch(self, project: ProjectId, store_id: str, batch_id: str) -> VectorStoreFileBatch | None:
        return await self._read(file_batches.batch(project, store_id, batch_id))

    async def cancel_batch(self, project: ProjectId, store_id: str, batch_id: str) -> VectorStoreFileBatch | None:
        return await self._write(partial(file_batches.cancel_batch, project, store_id, batch_id))

    # what is to be indexed

    async def claim_ingest(self, owner: str, now: float, until: float, *, limit: int) -> Sequence[IngestJob]:
        return await self._write(partial(ingest.claim_ingest, owner, now, until, limit))

    async def renew_ingest(self, owner: str, generations: Sequence[int], until: float) -> Sequence[int]:
        return await self._write(partial(ingest.renew_ingest, owner, generations, until))

    async def release_ingest(self, owner: str, generations: Sequence[int]) -> None:
        await self._write(partial(ingest.release_ingest, owner, generations))

    async def put_chunks(self, owner: str, generation: int, new: Sequence[Chunk]) -> bool:
        return await self._write(partial(chunks.put_chunks, owner, generation, new))

    async def finish_ingest(self, owner: str, generation: int, *, chunks: int, usage_bytes: int) -> bool:
        return await self._write(partial(ingest.finish_ingest, owner, generation, chunks, usage_bytes))

    async def fail_ingest(self, owner: str, generation: int, code: FileErrorCode, message: str) -> bool:
        return await self._write(partial(ingest.fail_ingest, owner, generation, code, message))

    async def being_indexed(self, store_ids: Sequence[str]) -> bool:
        return await self._read(ingest.being_indexed(store_ids))

    # the index

    async def index_version(self, store_id: str) -> int | None:
        return await self._read(chunks.index_version(store_id))

    async def index_head(self, store_id: str) -> IndexHead | None:
        return await self._read_long(chunks.index_head(store_id))

    async def index_rows(self, generation: int, embedding: Embedding | None) -> Sequence[IndexRow]:
        return await self._read_long(chunks.index_rows(generation, embedding))

    async def chunk_texts(self, keys: Sequence[ChunkKey]) -> Sequence[tuple[str, int | None] | None]:
        return await self._read(chunks.chunk_texts(keys))

    # re-embedding

    async def put_vectors(self, generation: int, embedding: Embedding, vectors: Sequence[tuple[int, bytes]]) -> None:
        await self._write(partial(chunks.put_vectors, generation, embedding, vectors))

    async def missing_vectors(
        self, store_id: str, embedding: Embedding, *, limit: int, after: ChunkKey | None = None
    ) -> Sequence[tuple[ChunkKey, str]]:
        return await self._read_long(chunks.missing_vectors(store_id, embedding, limit, after))

    async def missing_vectors_count(self, store_id: str, embedding: Embedding) -> int:
        return await self._read_long(chunks.missing_vectors_count(store_id, embedding))

    async def stores_outside(self, embedding: Embedding) -> Sequence[str]:
        return await self._read_long(chunks.stores_outside(embedding))

    async def switch_embedding(self, store_id: str, embedding: Embedding) -> bool:
        return await self._write(partial(chunks.switch_embedding, store_id, embedding))
