"""What all routes about vector stores share: that the store is there, may be used, and takes such files."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from understudy.api.services import Services
from understudy.core import errors, refusals
from understudy.core.ids import ProjectId
from understudy.core.vector_stores import is_expired
from understudy.ports import (
    Embedding,
    EmbeddingFailed,
    StoredVectorStore,
)
from understudy.wire.tools import StaticChunking
from understudy.wire.vector_stores import Chunking

# Contract section 6.6: those that the vendor's service takes for search.
_SEARCHABLE_NAMES: Final = ".c .cpp .cs .css .doc .docx .go .html .java .js .json .md .pdf .php .pptx .py .rb .sh .tex"
_SEARCHABLE: Final = frozenset([*_SEARCHABLE_NAMES.split(), ".ts", ".txt"])


async def need_store(services: Services, project: ProjectId, store_id: str) -> StoredVectorStore:
    """Raises `errors.NotFound`."""
    stored = await services.store.vector_store(project, store_id)
    if stored is None:
        raise errors.no_such("vector store", store_id)
    return stored


async def need_live_store(services: Services, project: ProjectId, store_id: str) -> StoredVectorStore:
    """One that may be used. Raises `errors.NotFound`, `errors.Conflict`."""
    stored = await need_store(services, project, store_id)
    if is_expired(stored.store, services.now()):
        raise errors.store_expired(store_id)
    return stored


async def preferred_embedding(services: Services) -> Embedding | None:
    """What new stores are embedded with. Raises `errors.Unavailable`."""
    try:
        embedder = await services.embedders.preferred()
    except EmbeddingFailed as error:
        raise errors.Unavailable(error.message) from error
    return None if embedder is None else embedder.embedding


def check_chunking(strategy: Chunking | None, path: str = "chunking_strategy") -> None:
    """Raises `errors.InvalidField` for an overlap of more than half a chunk."""
    if isinstance(strategy, StaticChunking):
        most, overlap = strategy.static.max_chunk_size_tokens // 2, strategy.static.chunk_overlap_tokens
        if overlap > most:
            raise refusals.large_number(f"{path}.static.chunk_overlap_tokens", "integer", most, overlap)


async def check_file_types(services: Services, project: ProjectId, file_ids: Sequence[str]) -> None:
    """Where the operator wants the vendor's list held: raises `errors.InvalidField` for files that are not on it."""
    if not services.listed_files_only:
        return
    unlisted: dict[str, None] = {}
    for file_id in file_ids:
        stored = await services.store.file(project, file_id, services.now())
        if stored is not None and (extension := PurePath(stored.file.filename).suffix.lower()) not in _SEARCHABLE:
            unlisted[extension or "none"] = None
    if unlisted:
        raise errors.unsupported_files(list(unlisted))
