"""The built-in embedding as an `Embedder`, beside the event loop where a text is long."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from understudy.core.limits import EMBED_INLINE_CHARACTERS_MAX
from understudy.ports import Embedder, Embedding
from understudy.retrieval.static import DIMENSIONS, MODEL, StaticModel

__all__ = ["STATIC", "StaticEmbedder"]

STATIC = Embedding(model=MODEL, dimensions=DIMENSIONS)


class StaticEmbedder(Embedder):
    embedding = STATIC

    def __init__(self, model: StaticModel) -> None:
        self._model = model

    @classmethod
    def load(cls, directory: Path) -> "StaticEmbedder":
        """Blocks. Raises `OSError`, `ValueError`."""
        return cls(StaticModel.load(directory))

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        """Raises nothing."""
        if sum(map(len, texts)) <= EMBED_INLINE_CHARACTERS_MAX:
            return self._model.embed(texts)
        return await asyncio.to_thread(self._model.embed, texts)
