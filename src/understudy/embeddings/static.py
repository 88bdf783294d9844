"""The built-in embedding as an `Embedder`, beside the event loop where a text is long."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from understudy.core.limits import EMBED_INLINE_CHARACTERS_MAX
from understudy.ports import Embedder, Embedding
from understudy.retrieval.static import DIMENSIONS, MODEL, StaticModel, has_weights

__all__ = ["STATIC", "StaticEmbedder", "StaticWeights"]

STATIC = Embedding(model=MODEL, dimensions=DIMENSIONS)

log = structlog.get_logger(__name__)


class StaticEmbedder(Embedder):
    embedding = STATIC

    def __init__(self, model: StaticModel) -> None:
        self._model = model

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        """Raises nothing."""
        if sum(map(len, texts)) <= EMBED_INLINE_CHARACTERS_MAX:
            return self._model.embed(texts)
        return await asyncio.to_thread(self._model.embed, texts)


class StaticWeights:
    """The built-in embedding, loaded when it is first needed, as soon as its weights are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: StaticEmbedder | None = None
        self._loading = asyncio.Lock()
        self._broken = False

    async def embedder(self) -> StaticEmbedder | None:
        """`None` without weights, and with broken ones, which is logged."""
        async with self._loading:
            if self._loaded is None and not self._broken and has_weights(self._directory):
                try:
                    self._loaded = StaticEmbedder(await asyncio.to_thread(StaticModel.load, self._directory))
                except (OSError, ValueError) as error:
                    self._broken = True
                    log.warning("embedding_weights_broken", reason=str(error))
        return self._loaded
