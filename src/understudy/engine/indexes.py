"""The indexes of the vector stores that were searched last, in memory, each as new as its store."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakValueDictionary

from understudy.core.limits import SEARCH_CACHE_BYTES, SEGMENT_LOAD_ROWS
from understudy.ports import IndexHead, IndexRow, VectorIndex, VectorRows
from understudy.retrieval.index import StoreIndex

__all__ = ["Indexes"]


class Indexes:
    """Immutable indexes by store. Several processes stay right without a lock: the rows say which version is current.

    `bytes_max` of them are kept, the least recently used go first; one is kept whatever its size. What `vectors` has is
    not read into them.
    """

    def __init__(
        self, rows: VectorRows, vectors: VectorIndex | None = None, *, bytes_max: int = SEARCH_CACHE_BYTES
    ) -> None:
        self._rows = rows
        self._vectors = vectors
        self._bytes_max = bytes_max
        self._kept: OrderedDict[str, StoreIndex] = OrderedDict()
        self._loading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def current(self, store_id: str) -> StoreIndex | None:
        """The store's index; `None` if there is no such store. Files that it has already are not read again."""
        version = await self._rows.index_version(store_id)
        if version is None:
            self._kept.pop(store_id, None)
            return None
        lock = self._loading.setdefault(store_id, asyncio.Lock())
        async with lock:
            kept = self._kept.get(store_id)
            if kept is None or kept.version < version:
                head = await self._rows.index_head(store_id)
                if head is None:
                    self._kept.pop(store_id, None)
                    return None
                kept = self._kept[store_id] = await self._loaded(head, kept)
            self._kept.move_to_end(store_id)
            self._let_go()
        return kept

    async def _loaded(self, head: IndexHead, before: StoreIndex | None) -> StoreIndex:
        elsewhere = self._vectors is not None and head.embedding is not None and self._vectors.has(head.embedding)
        space = None if elsewhere else head.embedding
        same = before is not None and before.embedding == head.embedding
        index = before if before is not None and same else StoreIndex.empty(head, elsewhere=elsewhere)
        fresh: dict[int, Sequence[IndexRow]] = {}
        read = 0
        for file in head.files:
            if index.has(file.generation):
                continue
            fresh[file.generation] = await self._rows.index_rows(file.generation, space)
            read += len(fresh[file.generation])
            if read >= SEGMENT_LOAD_ROWS:
                index = await asyncio.to_thread(index.becoming, head, fresh)
                fresh, read = {}, 0
        return await asyncio.to_thread(index.becoming, head, fresh)

    def _let_go(self) -> None:
        total = sum(index.nbytes for index in self._kept.values())
        while total > self._bytes_max and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            total -= oldest.nbytes
