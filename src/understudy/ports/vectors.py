"""Vector stores: their rows, what is to be indexed, the chunks of what is, and the search over them."""

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from msgspec import Struct

from understudy.core.ids import ProjectId
from understudy.core.limits import CHUNKS_PRUNED_MAX, STORE_FILES_PRUNED_MAX
from understudy.ports.common import PageQuery, Rows
from understudy.ports.files import StoredFile
from understudy.wire.tools import StaticChunkingOptions
from understudy.wire.vector_stores import (
    Attributes,
    FileErrorCode,
    FileStatus,
    Filter,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)

# --- embeddings


class Embedding(Struct, frozen=True, kw_only=True):
    """A space of vectors: the model that makes them, and how many numbers each has. Two spaces are never mixed."""

    model: str
    dimensions: int


class EmbeddingFailed(Exception):
    """No vectors can be had just now, or for these texts. `message` is safe to show to the client."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable


class Embedder(Protocol):
    """Texts -> vectors of length 1, of one space, as float16 in the machine's little-endian order, one text each."""

    embedding: Embedding

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        """Raises `EmbeddingFailed`."""


class Embedders(Protocol):
    """`preferred` is what new stores use; without any they are searched by words alone."""

    async def preferred(self) -> Embedder | None:
        """Raises `EmbeddingFailed`: the configured server cannot be asked for its dimensions."""

    async def of(self, embedding: Embedding) -> Embedder | None:
        """The one that makes vectors of this space, if this server is still set up for it."""

    async def close(self) -> None: ...


# --- documents


class DocumentRefused(Exception):
    """A file that cannot be indexed. `message` says why to the client."""

    def __init__(self, code: FileErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: FileErrorCode = code
        self.message = message


class Chunk(Struct, frozen=True, kw_only=True):
    """A passage. `number` counts from 0 in its file; `terms` are its stemmed words' counts, see `retrieval/terms.py`.

    `vector` is there when it was made along the way (by the built-in embedding), as an `Embedder` would make it.
    `page` counts from 1, in files that have pages.
    """

    number: int
    text: str
    tokens: int
    terms: bytes
    page: int | None = None
    vector: bytes | None = None


class Documents(Protocol):
    """Files -> chunks, in a limited child process each."""

    def chunks(
        self, path: Path, file_name: str, mime_type: str, chunking: StaticChunkingOptions, *, embed: bool
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """In bounded batches. `embed`: with vectors of the built-in embedding. Raises `DocumentRefused`.

        A file that is not read to its end is closed by `aclose`.
        """

    async def close(self) -> None: ...


# --- rows


class StoredVectorStore(Struct, frozen=True, kw_only=True):
    """`store` as a GET answers it, its counts derived at that moment. `version` grows with each change of its index."""

    store: VectorStore
    embedding: Embedding | None
    version: int


class IngestJob(Struct, frozen=True, kw_only=True):
    """A file of a store that is to be indexed. The row is the job, held by a lease.

    `generation` is new for each time that a file is attached: chunks of an older one are not searched.
    """

    project: ProjectId
    store_id: str
    generation: int
    stored: StoredFile
    chunking: StaticChunkingOptions
    embedding: Embedding | None
    attempts: int  # how often it was begun, this time included


class IndexedFile(Struct, frozen=True, kw_only=True):
    """A file that can be searched."""

    file_id: str
    file_name: str
    generation: int
    attributes: Attributes


class IndexHead(Struct, frozen=True, kw_only=True):
    """What a store's index is made of at one version."""

    version: int
    embedding: Embedding | None
    files: Sequence[IndexedFile]


class IndexRow(Struct, frozen=True, kw_only=True):
    number: int
    terms: bytes
    vector: bytes | None


class ChunkKey(Struct, frozen=True):
    generation: int
    number: int


ChangeStore: TypeAlias = Callable[[VectorStore], VectorStore]


class NewStoreFile(Struct, frozen=True, kw_only=True):
    file_id: str
    chunking: StaticChunkingOptions
    attributes: Attributes = {}


class NewVectorStore(Struct, frozen=True, kw_only=True):
    """A store that is to be made, with the files that it begins with."""

    store: VectorStore
    embedding: Embedding | None = None
    files: Sequence[NewStoreFile] = ()


class Attached(Struct, frozen=True, kw_only=True):
    """What messages bring to their thread: files for the code interpreter, and files to search.

    The latter go to the store that the thread has; `search` is made where it has none.
    """

    code: Sequence[str] = ()
    search: NewVectorStore | None = None


class VectorRows(Protocol):
    """Rows of vector stores, their files, batches and chunks.

    What clients attach or detach is searched, or not searched, as of the change that says so; the chunks that nobody
    can reach any more are deleted later, by `prune_index`.
    """

    # stores

    async def add_vector_store(self, project: ProjectId, new: NewVectorStore) -> VectorStore:
        """The store with its files, which are to be indexed. Raises `Missing` (a file), `VectorStoreFull`."""

    async def vector_store(self, project: ProjectId, store_id: str) -> StoredVectorStore | None: ...

    async def vector_stores_page(self, project: ProjectId, query: PageQuery) -> Rows:
        """Raises `Missing` for an unknown cursor."""

    async def update_vector_store(self, project: ProjectId, store_id: str, change: ChangeStore) -> VectorStore:
        """Raises `Missing`."""

    async def delete_vector_store(self, project: ProjectId, store_id: str) -> bool: ...

    async def use_vector_stores(self, store_ids: Sequence[str], at: int) -> None:
        """They were used now, which puts off their expiry."""

    async def expire_vector_stores(self, now: int, *, limit: int) -> int:
        """Marks stores whose time is over as expired, so that nothing in them is found; how many."""

    async def prune_index(self, *, chunks: int = CHUNKS_PRUNED_MAX, files: int = STORE_FILES_PRUNED_MAX) -> bool:
        """Deletes a bounded piece of what nobody can reach any more; whether there may be more."""

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
        """Puts files in line to be indexed, once more where they are attached already: see `finish_ingest`.

        A file that is named twice is attached as it was named last. Raises `Missing` (the store, or a file),
        `VectorStoreExpired`, `VectorStoreFull`.
        """

    async def store_file(self, project: ProjectId, store_id: str, file_id: str) -> VectorStoreFile | None: ...

    async def store_files_page(
        self, project: ProjectId, store_id: str, query: PageQuery, *, status: FileStatus | None, batch_id: str | None
    ) -> Rows:
        """Raises `Missing` for an unknown cursor."""

    async def set_attributes(
        self, project: ProjectId, store_id: str, file_id: str, attributes: Attributes
    ) -> VectorStoreFile:
        """Raises `Missing` (the store, or its file)."""

    async def detach_file(self, project: ProjectId, store_id: str, file_id: str) -> bool: ...

    async def file_texts(self, store_id: str, file_id: str) -> Sequence[str]:
        """The chunks of a file that is searched, in their order. Those of a store that is the caller's."""

    async def batch(self, project: ProjectId, store_id: str, batch_id: str) -> VectorStoreFileBatch | None: ...

    async def cancel_batch(self, project: ProjectId, store_id: str, batch_id: str) -> VectorStoreFileBatch | None:
        """What of it is not indexed yet is not going to be. One that has ended stays as it is."""

    # what is to be indexed

    async def claim_ingest(self, owner: str, now: float, until: float, *, limit: int) -> Sequence[IngestJob]:
        """Takes the oldest jobs that are free, or whose lease ran out. `until` is later than `now`.

        One that was begun `INGEST_ATTEMPTS_MAX` times, and never finished, fails instead.
        """

    async def renew_ingest(self, owner: str, generations: Sequence[int], until: float) -> Sequence[int]:
        """Extends leases; the jobs to go on with: not cancelled, detached or taken meanwhile."""

    async def release_ingest(self, owner: str, generations: Sequence[int]) -> None:
        """Gives jobs back as if they had not been claimed: their worker is stopping."""

    async def put_chunks(self, owner: str, generation: int, new: Sequence[Chunk]) -> bool:
        """Writes chunks, over those of the same numbers. False: the job is the owner's no more."""

    async def finish_ingest(self, owner: str, generation: int, *, chunks: int, usage_bytes: int) -> bool:
        """The file is searched from now on, instead of its older generation; chunks numbered beyond are let go.

        False: the job is the owner's no more, or is to be done again because its store was re-embedded meanwhile.
        """

    async def fail_ingest(self, owner: str, generation: int, code: FileErrorCode, message: str) -> bool:
        """Where an older generation answers, it goes on answering. False: the job is the owner's no more."""

    async def being_indexed(self, store_ids: Sequence[str]) -> bool:
        """Whether any file of these stores is still to be indexed."""

    # the index

    async def index_version(self, store_id: str) -> int | None:
        """What `index_head` would say of it, at the price of one row. `None`: there is no such store."""

    async def index_head(self, store_id: str) -> IndexHead | None:
        """An expired store has no files."""

    async def index_rows(self, generation: int, embedding: Embedding | None) -> Sequence[IndexRow]:
        """A file's chunks in their order; with their vectors of this space."""

    async def chunk_texts(self, keys: Sequence[ChunkKey]) -> Sequence[tuple[str, int | None] | None]:
        """Text and page of each chunk, in the order asked for; `None` for one that is gone."""

    # re-embedding

    async def put_vectors(self, generation: int, embedding: Embedding, vectors: Sequence[tuple[int, bytes]]) -> None:
        """Vectors of another space beside those in use, by the chunks' numbers. A chunk that is gone gets none."""

    async def missing_vectors(
        self, store_id: str, embedding: Embedding, *, limit: int, after: ChunkKey | None = None
    ) -> Sequence[tuple[ChunkKey, str]]:
        """Searched chunks, with their texts, that have no vector of this space yet; in order, those behind `after`."""

    async def missing_vectors_count(self, store_id: str, embedding: Embedding) -> int:
        """How many chunks `missing_vectors` has."""

    async def stores_outside(self, embedding: Embedding) -> Sequence[str]:
        """Every project's stores that are searched in another space, or in none; expired ones left out."""

    async def switch_embedding(self, store_id: str, embedding: Embedding) -> bool:
        """The store is searched in this space from now on, and the older vectors go. False: some chunk has none yet."""


# --- vectors that stay in the database


class Near(Struct, frozen=True):
    """A chunk, and the cosine of its vector and the one that was asked with."""

    key: ChunkKey
    cosine: float


class VectorIndex(Protocol):
    """Vectors that are compared where they are kept, so that nobody need hold them all in memory.

    They are the ones that `VectorRows` has written, as of the same transactions.
    """

    def has(self, embedding: Embedding) -> bool:
        """Whether vectors of this space are compared here; others are read and compared in memory."""

    async def nearest(
        self, embedding: Embedding, vector: bytes, generations: Sequence[int], *, chunks: int, limit: int
    ) -> Sequence[Near]:
        """The nearest of these files' chunks, of which there are so many; best first. Raises `StoreUnavailable`."""

    async def cosines(self, embedding: Embedding, vector: bytes, keys: Sequence[ChunkKey]) -> Sequence[Near]:
        """Those of the chunks that have a vector of this space, in any order. Raises `StoreUnavailable`."""

    async def close(self) -> None: ...


# --- search


class Passage(Struct, frozen=True, kw_only=True):
    """A chunk that was found. `score` is between 0 and 1."""

    store_id: str
    file_id: str
    file_name: str
    score: float
    text: str
    attributes: Attributes
    number: int
    page: int | None


class SearchRequest(Struct, frozen=True, kw_only=True):
    """`ranker` as in the request: `none` fuses and does not rerank."""

    queries: Sequence[str]
    limit: int
    score_threshold: float = 0.0
    ranker: str = "auto"
    where: Filter | None = None


class SearchRefused(Exception):
    """A search that asks for too much. `param` is the request's field."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class RerankFailed(Exception):
    """No scores can be had. The text is for the log."""


class Reranker(Protocol):
    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each text answers, between 0 and 1. Raises `RerankFailed`."""


class Search(Protocol):
    async def search(self, store_ids: Sequence[str], request: SearchRequest) -> Sequence[Passage]:
        """Best first, over all the stores together. Raises `EmbeddingFailed`, `SearchRefused`."""
