"""One file of a vector store, from its content to chunks that can be searched."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import structlog
from msgspec.structs import replace

from understudy.core.limits import (
    EMBED_ATTEMPTS_MAX,
    EMBED_RETRY_SECONDS,
    INGEST_ATTEMPTS_MAX,
    INGEST_RETRY_SECONDS,
)
from understudy.ports import (
    BlobRefused,
    Blobs,
    Chunk,
    Clock,
    DocumentRefused,
    Documents,
    Embedder,
    Embedders,
    Embedding,
    EmbeddingFailed,
    IngestJob,
    StoreUnavailable,
    VectorRows,
)
from understudy.wire.vector_stores import FileErrorCode

__all__ = ["Ingest"]

log = structlog.get_logger()

_WRONG: Final = "The file could not be indexed: something went wrong in the server."


class _TryLater(Exception):
    """It may go well another time. The text says to the client why it did not now."""


class _GiveUp(Exception):
    """It never will. The text says to the client why."""


class Ingest:
    """What was put down halfway is done again from its beginning: chunks are written over those of the same numbers.

    `built_in` is the embedding whose vectors the documents' children make along the way. After what may pass a job is
    put off for `retry_seconds`, longer each time, until it was begun `INGEST_ATTEMPTS_MAX` times.
    """

    def __init__(
        self,
        store: VectorRows,
        blobs: Blobs,
        documents: Documents,
        embedders: Embedders,
        clock: Clock,
        *,
        built_in: Embedding | None,
        retry_seconds: float = INGEST_RETRY_SECONDS,
        embed_retry_seconds: float = EMBED_RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._documents = documents
        self._embedders = embedders
        self._clock = clock
        self._built_in = built_in
        self._retry_seconds = retry_seconds
        self._embed_retry_seconds = embed_retry_seconds

    async def index(self, job: IngestJob, owner: str) -> None:
        """Ends the job: its file is searched, has failed with a reason, is put off, or is somebody else's by now.

        Raises `StoreUnavailable`: then its lease runs out by itself.
        """
        try:
            await self._index(job, owner)
        except DocumentRefused as refused:
            if refused.code == "server_error":
                await self._later(job, owner, refused.message)
            else:
                await self._fail(job, owner, refused.code, refused.message)
        except _GiveUp as reason:
            await self._fail(job, owner, "server_error", str(reason))
        except _TryLater as reason:
            await self._later(job, owner, str(reason))
        except (BlobRefused, KeyError):
            log.exception("file_not_read", file_id=job.stored.file.id)
            await self._later(job, owner, "The file could not be indexed: its content could not be read.")
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("file_indexing_crashed", file_id=job.stored.file.id)
            await self._later(job, owner, _WRONG)

    async def _index(self, job: IngestJob, owner: str) -> None:
        embedder = await self._embedder(job)
        file = job.stored.file
        in_child = job.embedding is not None and embedder is None
        count = usage_bytes = 0
        async with self._blobs.local(job.stored.blob) as path:
            chunks = self._documents.chunks(path, file.filename, job.stored.mime_type, job.chunking, embed=in_child)
            async with aclosing(chunks) as batches:
                async for read in batches:
                    batch = read if embedder is None else await self._embedded(embedder, read)
                    if not await self._store.put_chunks(owner, job.generation, batch):
                        return
                    count += len(batch)
                    usage_bytes += sum(_bytes(chunk) for chunk in batch)
        done = await self._store.finish_ingest(owner, job.generation, chunks=count, usage_bytes=usage_bytes)
        log.info("file_indexed" if done else "file_left_to_others", file_id=file.id, chunks=count)

    async def _embedder(self, job: IngestJob) -> Embedder | None:
        """`None`: there are to be no vectors, or the child makes them."""
        if job.embedding is None or job.embedding == self._built_in:
            return None
        try:
            found = await self._embedders.of(job.embedding)
        except EmbeddingFailed as failed:
            raise (_TryLater if failed.retryable else _GiveUp)(failed.message) from failed
        if found is None:
            raise _TryLater(
                f"The file could not be indexed: nothing here makes embeddings of the model {job.embedding.model} "
                f"with {job.embedding.dimensions} dimensions, which its vector store uses."
            )
        return found

    async def _embedded(self, embedder: Embedder, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """The chunks with their vectors. Raises `_TryLater`."""
        for attempt in range(EMBED_ATTEMPTS_MAX):
            try:
                vectors = await embedder.embed([chunk.text for chunk in chunks])
                break
            except EmbeddingFailed as failed:
                if not failed.retryable:
                    raise _GiveUp(failed.message) from failed
                if attempt == EMBED_ATTEMPTS_MAX - 1:
                    raise _TryLater(failed.message) from failed
                log.warning("embedding_again", attempt=attempt + 1)
                await asyncio.sleep(self._embed_retry_seconds * 2**attempt)
        return [replace(chunk, vector=vector) for chunk, vector in zip(chunks, vectors, strict=True)]

    async def _later(self, job: IngestJob, owner: str, reason: str) -> None:
        if job.attempts >= INGEST_ATTEMPTS_MAX:
            await self._fail(job, owner, "server_error", reason)
            return
        seconds = self._retry_seconds * 2 ** (job.attempts - 1)
        log.warning("file_put_off", file_id=job.stored.file.id, attempt=job.attempts, seconds=seconds)
        # Its lease is all that keeps others from it until then, and anybody may go on with it.
        await self._store.renew_ingest(owner, [job.generation], self._clock() + seconds)

    async def _fail(self, job: IngestJob, owner: str, code: FileErrorCode, message: str) -> None:
        log.info("file_not_indexed", file_id=job.stored.file.id, code=code)
        await self._store.fail_ingest(owner, job.generation, code, message)


def _bytes(chunk: Chunk) -> int:
    text = len(chunk.text) if chunk.text.isascii() else len(chunk.text.encode())
    return text + len(chunk.terms) + len(chunk.vector or b"")
