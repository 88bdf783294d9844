"""A store's chunks embedded anew, beside the vectors that answer meanwhile."""

from collections.abc import Callable
from itertools import groupby

from understudy.core.limits import REINDEX_CHUNKS, REINDEX_SWITCHES_MAX
from understudy.ports import ChunkKey, Embedder, VectorRows

__all__ = ["reindex"]


async def reindex(rows: VectorRows, embedder: Embedder, store_id: str, *, done: Callable[[int], None]) -> bool:
    """Whether the store is searched in the embedder's space now. `done` is told how many chunks were just embedded.

    What was embedded before an interruption is not embedded again. False: the store is gone, or files came faster than
    they could be caught up with. Raises `EmbeddingFailed`.
    """
    for _ in range(REINDEX_SWITCHES_MAX):
        await _fill(rows, embedder, store_id, done)
        if await rows.switch_embedding(store_id, embedder.embedding):
            return True
        if await rows.index_version(store_id) is None:
            return False
    return False


async def _fill(rows: VectorRows, embedder: Embedder, store_id: str, done: Callable[[int], None]) -> None:
    last: ChunkKey | None = None
    while missing := await rows.missing_vectors(store_id, embedder.embedding, limit=REINDEX_CHUNKS, after=last):
        vectors = await embedder.embed([text for _, text in missing])
        keyed = zip((key for key, _ in missing), vectors, strict=True)
        for generation, group in groupby(keyed, key=lambda pair: pair[0].generation):
            await rows.put_vectors(generation, embedder.embedding, [(key.number, vector) for key, vector in group])
        done(len(missing))
        last = missing[-1][0]
