"""Embeddings that run on this machine: each is loaded when it is first needed, as soon as its weights are there."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from understudy.ports import Embedder

__all__ = ["LocalEmbedding", "load_minilm"]

log = structlog.get_logger(__name__)


class LocalEmbedding:
    """`is_there` looks for the weights in `directory`, `load` reads them: it may block, or raise like `MiniLm.load`."""

    def __init__(self, directory: Path, *, is_there: Callable[[Path], bool], load: Callable[[Path], Embedder]) -> None:
        self._directory = directory
        self._is_there = is_there
        self._load = load
        self._loaded: Embedder | None = None
        self._loading = asyncio.Lock()
        self._broken = False

    async def embedder(self) -> Embedder | None:
        """`None` without weights, and where they or what runs them are broken or missing, which is logged once."""
        async with self._loading:
            if self._loaded is None and not self._broken and self._is_there(self._directory):
                try:
                    self._loaded = await asyncio.to_thread(self._load, self._directory)
                except (ImportError, OSError, ValueError) as error:
                    self._broken = True
                    log.warning("embedding_not_loaded", reason=str(error))
        return self._loaded


def load_minilm(directory: Path) -> Embedder:
    # Not above: only `understudy[minilm]` has what it runs on.
    from understudy.embeddings.minilm import MiniLm

    return MiniLm.load(directory)
