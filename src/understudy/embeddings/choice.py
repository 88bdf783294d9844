"""Which embedding new stores use, and who can still make vectors of a store's."""

import asyncio
from pathlib import Path
from typing import Literal, TypeAlias

from understudy.core.limits import EMBEDDING_REQUESTS_MAX
from understudy.embeddings.http import HttpEmbedder, HttpEmbedding
from understudy.embeddings.local import LocalEmbedding, load_minilm
from understudy.embeddings.static import STATIC, StaticEmbedder
from understudy.ports import Embedder, Embedders, Embedding, Models
from understudy.retrieval.minilm_files import MINILM, has_minilm
from understudy.retrieval.static import has_weights

__all__ = ["ChosenEmbedders", "LocalName"]

LocalName: TypeAlias = Literal["static", "minilm"]


class ChosenEmbedders(Embedders):
    """The configured server's model, else that of this machine which is chosen, where its weights are, else none."""

    def __init__(
        self, models: Models, setting: HttpEmbedding | None, weights_dir: Path, *, local: LocalName = "static"
    ) -> None:
        self._models = models
        self._setting = setting
        self._local = {
            STATIC: LocalEmbedding(weights_dir, is_there=has_weights, load=StaticEmbedder.load),
            MINILM: LocalEmbedding(weights_dir, is_there=has_minilm, load=load_minilm),
        }
        self._preferred = MINILM if local == "minilm" else STATIC
        self._slots = asyncio.Semaphore(EMBEDDING_REQUESTS_MAX)
        self._measured: HttpEmbedder | None = None
        self._measuring = asyncio.Lock()

    async def preferred(self) -> Embedder | None:
        if self._setting is None:
            return await self._local[self._preferred].embedder()
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
        local = self._local.get(embedding)
        return None if local is None else await local.embedder()

    async def close(self) -> None:
        """Nothing is open: the connections are those of the models."""
