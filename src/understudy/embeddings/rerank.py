"""A server's `/rerank` as a `Reranker`: Cohere's, Jina's, vLLM's and llama.cpp's speak alike."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from understudy.ports import ModelError, Models, RerankFailed

__all__ = ["HttpReranker"]


class _Score(Struct, frozen=True):
    index: int
    relevance_score: float


class _Answer(Struct, frozen=True):
    results: list[_Score]


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class HttpReranker:
    """Implements `ports.Reranker` by a model of one of the model servers."""

    def __init__(self, models: Models, model: str) -> None:
        self._models = models
        self._model = model

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        body = {"query": query, "documents": list(texts), "top_n": len(texts), "return_documents": False}
        try:
            found = _ANSWER.decode(await self._models.ask("/rerank", self._model, body)).results
        except ModelError as error:
            raise RerankFailed(error.message) from error
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise RerankFailed("The answer to /rerank has no results with scores.") from error
        if sorted(one.index for one in found) != list(range(len(texts))):
            raise RerankFailed("The answer to /rerank does not score each document once.")
        scores = np.array([one.relevance_score for one in sorted(found, key=lambda one: one.index)], np.float64)
        if not np.isfinite(scores).all():
            raise RerankFailed("The answer to /rerank has scores that are not finite.")
        if scores.min() < 0 or scores.max() > 1:
            scores = 1 / (1 + np.exp(-scores.clip(-50, 50)))  # some servers give the logits
        return [float(score) for score in scores]
