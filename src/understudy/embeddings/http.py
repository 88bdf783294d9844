"""A server's embedding model as an `Embedder`: asked by the same routes as chat models, in batches, with patience."""

import asyncio
import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
import structlog
from msgspec import Struct
from numpy.typing import NDArray

from understudy.core import limits
from understudy.ports import Embedder, Embedding, EmbeddingFailed, ModelError, Models

__all__ = ["HttpEmbedder", "HttpEmbedding"]

_PROBE: Final = "dimensions"

log = structlog.get_logger(__name__)


class _Vector(Struct, frozen=True):
    """`embedding` is a list of numbers, or in base64 their float32 in little-endian order."""

    embedding: list[float] | str
    index: int | None = None


class _Answer(Struct, frozen=True):
    data: list[_Vector]


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class HttpEmbedding(Struct, frozen=True, kw_only=True):
    """A model and how it is asked. `dimensions` are asked for where they are given, else they are the model's own."""

    model: str
    dimensions: int | None = None
    request_texts: int = limits.EMBEDDING_REQUEST_TEXTS
    retry_seconds: float = limits.UPSTREAM_RETRY_SECONDS


class HttpEmbedder(Embedder):
    """Vectors of one space. `slots` bounds the requests of all embedders that share it."""

    def __init__(self, models: Models, setting: HttpEmbedding, embedding: Embedding, slots: asyncio.Semaphore) -> None:
        self.embedding = embedding
        self._models = models
        self._setting = setting
        self._slots = slots

    @classmethod
    async def measured(cls, models: Models, setting: HttpEmbedding, slots: asyncio.Semaphore) -> "HttpEmbedder":
        """With the dimensions that the server's vectors have. Raises `EmbeddingFailed`."""
        if setting.dimensions is None:
            asking = cls(models, setting, Embedding(model=setting.model, dimensions=0), slots)
            [vector] = await asking.ask([_PROBE])
            dimensions = len(vector)
        else:
            dimensions = setting.dimensions
        return cls(models, setting, Embedding(model=setting.model, dimensions=dimensions), slots)

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        packed: list[bytes] = []
        for batch in _batches(texts, self._setting.request_texts):
            vectors = await self.ask(batch)
            if any(len(vector) != self.embedding.dimensions for vector in vectors):
                raise _wrong(f"vectors of {len(vectors[0])} instead of {self.embedding.dimensions} numbers")
            packed += [_packed(vector) for vector in vectors]
        return packed

    async def ask(self, texts: Sequence[str]) -> Sequence[NDArray[np.float32]]:
        """Vectors as the server has them, one for each text. Raises `EmbeddingFailed`."""
        # Servers refuse an empty text, and what is asked must be UTF-8.
        plain = [text.encode("utf-8", "replace").decode("utf-8") or " " for text in texts]
        body: dict[str, object] = {"input": plain}
        if self._setting.dimensions is not None:
            body["dimensions"] = self._setting.dimensions
        return _vectors(await self._patiently(body), len(texts))

    async def _patiently(self, body: dict[str, object]) -> bytes:
        """The answer. Asks again while the server is away or busy, and pauses for as long as it says."""
        pause = self._setting.retry_seconds
        for attempt in range(1, limits.UPSTREAM_ATTEMPTS_MAX + 1):
            try:
                async with self._slots:
                    return await self._models.ask("/embeddings", self._setting.model, body)
            except ModelError as error:
                if not error.retryable or attempt == limits.UPSTREAM_ATTEMPTS_MAX:
                    raise EmbeddingFailed(error.message, retryable=error.retryable) from error
                log.info("embedding_asked_again", model=self._setting.model, attempt=attempt, reason=error.message)
                wait = min(error.retry_after or pause, limits.UPSTREAM_RETRY_SECONDS_MAX)
            await asyncio.sleep(wait)
            pause *= 2
        raise AssertionError("the last attempt raises or returns")


def _batches(texts: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    start, characters = 0, 0
    for place, text in enumerate(texts):
        too_long = characters + len(text) > limits.EMBEDDING_REQUEST_CHARACTERS_MAX
        if place > start and (place - start == most or too_long):
            yield texts[start:place]
            start, characters = place, 0
        characters += len(text)
    if start < len(texts):
        yield texts[start:]


def _vectors(answer: bytes, count: int) -> Sequence[NDArray[np.float32]]:
    try:
        found = _ANSWER.decode(answer).data
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise _wrong("something that is no list of vectors") from error
    if len(found) != count:
        raise _wrong(f"{len(found)} vectors for {count} texts")
    places = [place if one.index is None else one.index for place, one in enumerate(found)]
    if sorted(places) != list(range(count)):
        raise _wrong("vectors that are numbered wrongly")
    ordered = [one for _, one in sorted(zip(places, found, strict=True), key=lambda pair: pair[0])]
    return [_numbers(one.embedding) for one in ordered]


def _numbers(embedding: list[float] | str) -> NDArray[np.float32]:
    if isinstance(embedding, str):
        try:
            numbers = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32)
        except (ValueError, binascii.Error) as error:
            raise _wrong("vectors that are neither numbers nor base64") from error
    else:
        numbers = np.array(embedding, np.float32)
    if not 0 < len(numbers) <= limits.EMBEDDING_DIMENSIONS_MAX:
        raise _wrong(f"a vector of {len(numbers)} numbers")
    if not np.isfinite(numbers).all():
        raise _wrong("numbers that are not finite")
    return numbers


def _packed(numbers: NDArray[np.float32]) -> bytes:
    """Of length 1, as float16. A vector of zeros, which some models give for an empty text, stays what it is."""
    length = float(np.linalg.norm(numbers.astype(np.float64)))
    return bytes((numbers / (length or 1.0)).astype("<f2").tobytes())


def _wrong(what: str) -> EmbeddingFailed:
    return EmbeddingFailed(f"The embedding server answered with {what}.", retryable=False)
