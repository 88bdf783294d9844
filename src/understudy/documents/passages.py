"""The text of a file -> chunks in batches: cut, counted, and with vectors if they are wanted."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from understudy.core.limits import CHUNK_BATCH_BYTES, CHUNK_BATCH_MAX
from understudy.documents.pages import Page
from understudy.ports import Chunk
from understudy.retrieval.chunking import stretches
from understudy.retrieval.static import StaticModel
from understudy.retrieval.terms import window_counts
from understudy.wire.tools import StaticChunkingOptions

__all__ = ["batches"]


def batches(pages: Iterable[Page], chunking: StaticChunkingOptions, model: StaticModel | None) -> Iterator[list[Chunk]]:
    """Chunks in order, numbered from 0; what is blank is none. A chunk is on the page on which it begins."""
    places = _Places()
    batch: list[Chunk] = []
    number = size = 0
    for stretch in stretches(places.noting(pages), chunking):
        spans = [span for span in stretch.spans if not stretch.text[span.start : span.end].isspace()]
        windows = [(span.start, span.end) for span in spans]
        terms = window_counts(stretch.text, windows)
        vectors = [None] * len(spans) if model is None else model.embed_windows(stretch.text, windows)
        for span, counted, vector in zip(spans, terms, vectors, strict=True):
            text = stretch.text[span.start : span.end]
            page = places.page(stretch.offset + span.start)
            chunk = Chunk(number=number, text=text, tokens=span.tokens, terms=counted, page=page, vector=vector)
            batch.append(chunk)
            number += 1
            size += len(text)
            if len(batch) >= CHUNK_BATCH_MAX or size >= CHUNK_BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


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
