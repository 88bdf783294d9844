"""Which embedding new stores use, and who can still make vectors of a store's."""

import asyncio
from pathlib import Path

from understudy.core.limits import EMBEDDING_REQUESTS_MAX
from understudy.embeddings.http import HttpEmbedder, HttpEmbedding
from understudy.embeddings.static import STATIC, StaticWeights
from understudy.ports import Embedder, Embedders, Embedding, Models

__all__ = ["ChosenEmbedders"]


class ChosenEmbedders(Embedders):
    """The configured server's model, else the built-in embedding where its weights are, else none."""

    def __init__(self, models: Models, setting: HttpEmbedding | None, weights_dir: Path) -> None:
        self._models = models
        self._setting = setting
        self._static = StaticWeights(weights_dir)
        self._slots = asyncio.Semaphore(EMBEDDING_REQUESTS_MAX)
        self._measured: HttpEmbedder | None = None
        self._measuring = asyncio.Lock()

    async def preferred(self) -> Embedder | None:
        if self._setting is None:
            return await self._static.embedder()
        async with self._measuring:
            if self._measured is None:
                self._measured = await HttpEmbedder.measured(self._models, self._setting, self._slots)
        return self._measured

    async def of(self, embedding: Embedding) -> Embedder | None:
        setting = self._setting
        if setting is not None and embedding.model == setting.model:
            # A server that has another number of dimensions by now is found out by its answers.
            if setting.dimensions in (None, embedding.dimensions):
                return HttpEmbedder(self._models, setting, embedding, self._slots)
            return None
        return await self._static.embedder() if embedding == STATIC else None

    async def close(self) -> None:
        """Nothing is open: the connections are those of the models."""
