"""The text of a file -> chunks in batches: cut, counted, and with vectors if they are wanted."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from understudy.core.limits import CHUNK_BATCH_BYTES, CHUNK_BATCH_MAX
from understudy.documents.pages import Page
from understudy.ports import Chunk
from understudy.retrieval.chunking import Span, Stretch, stretches
from understudy.retrieval.static import StaticModel
from understudy.retrieval.terms import term_counts
from understudy.wire.tools import StaticChunkingOptions

__all__ = ["batches"]


def batches(pages: Iterable[Page], chunking: StaticChunkingOptions, model: StaticModel | None) -> Iterator[list[Chunk]]:
    """Chunks in order, numbered from 0; what is blank is none. A chunk is on the page on which it begins."""
    places = _Places()
    batch: list[Chunk] = []
    number = size = 0
    for stretch in stretches(places.noting(pages), chunking):
        spans = [span for span in stretch.spans if not stretch.text[span.start : span.end].isspace()]
        vectors = _vectors(stretch, spans, model)
        for span, vector in zip(spans, vectors, strict=True):
            text = stretch.text[span.start : span.end]
            chunk = Chunk(
                number=number,
                text=text,
                tokens=span.tokens,
                terms=term_counts(text),
                page=places.page(stretch.offset + span.start),
                vector=vector,
            )
            batch.append(chunk)
            number += 1
            size += len(text)
            if len(batch) >= CHUNK_BATCH_MAX or size >= CHUNK_BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _vectors(stretch: Stretch, spans: list[Span], model: StaticModel | None) -> Iterable[bytes | None]:
    if model is None:
        return [None] * len(spans)
    return model.embed_windows(stretch.text, [(span.start, span.end) for span in spans])


class _Places:
    """Where in the whole text each page begins."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._numbers: list[int | None] = []

    def noting(self, pages: Iterable[Page]) -> Iterator[str]:
        at = 0
        for text, number in pages:
            if not self._numbers or self._numbers[-1] != number:
                self._begins.append(at)
                self._numbers.append(number)
            at += len(text)
            yield text

    def page(self, at: int) -> int | None:
        return self._numbers[bisect_right(self._begins, at) - 1]
