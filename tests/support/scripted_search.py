"""A file search over scripted passages, and the few rows of vector stores that it looks at."""

import asyncio
from collections.abc import Sequence

from understudy.core.ids import ProjectId
from understudy.entropy import now
from understudy.ports import Passage, SearchRequest, Store, StoredVectorStore
from understudy.tools.file_search import FileSearch
from understudy.wire.tools import FileSearchToolBody
from understudy.wire.vector_stores import VectorStore

__all__ = ["SEARCH", "ScriptedSearch", "ScriptedStores", "passage", "scripted_file_search"]

SEARCH = FileSearchToolBody()


def passage(file_name: str, text: str, *, score: float = 0.5, page: int | None = None, number: int = 0) -> Passage:
    return Passage(
        store_id="vs_A",
        file_id=f"file-{file_name.partition('.')[0]}",
        file_name=file_name,
        score=score,
        text=text,
        attributes={},
        number=number,
        page=page,
    )


class ScriptedSearch:
    """Finds what it is given, or fails with `failure`. While `gate` is not set, it searches."""

    def __init__(self, *passages: Passage) -> None:
        self.passages = list(passages)
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked: list[tuple[Sequence[str], SearchRequest]] = []
        self._asks = asyncio.Event()

    async def search(self, store_ids: Sequence[str], request: SearchRequest) -> Sequence[Passage]:
        self.asked.append((store_ids, request))
        self._asks.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.passages[: request.limit]

    async def until_asked(self) -> None:
        async with asyncio.timeout(5):
            await self._asks.wait()


class ScriptedStores:
    """Stores that are there, unless they are `expired`; `indexing` have files that are not indexed yet."""

    def __init__(self) -> None:
        self.expired: set[str] = set()
        self.indexing: set[str] = set()
        self.used: list[str] = []
        self.looks = 0

    async def vector_store(self, _: ProjectId, store_id: str) -> StoredVectorStore | None:
        status = "expired" if store_id in self.expired else "completed"
        store = VectorStore(id=store_id, created_at=1, status=status, last_active_at=1)
        return StoredVectorStore(store=store, embedding=None, version=1)

    async def use_vector_stores(self, store_ids: Sequence[str], _: int) -> None:
        self.used += store_ids

    async def being_indexed(self, store_ids: Sequence[str]) -> bool:
        self.looks += 1
        return bool(self.indexing & set(store_ids))


def scripted_file_search(
    store: Store,
    search: ScriptedSearch,
    stores: ScriptedStores | None = None,
    *,
    details: bool = False,
    **seconds: float,
) -> FileSearch:
    return FileSearch(store, stores or ScriptedStores(), search, now, details=details, **seconds)  # type: ignore[arg-type]
