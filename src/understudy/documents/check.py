"""What a child's chunks must be like: it may have been taken over by the file that it reads."""

from collections.abc import Sequence
from typing import Final

from understudy.core.limits import REFUSAL_LENGTH_MAX, TOKEN_BYTES_MAX
from understudy.documents.messages import Malformed
from understudy.ports import Chunk
from understudy.retrieval.static import DIMENSIONS
from understudy.retrieval.terms import unpack
from understudy.wire.tools import StaticChunkingOptions

__all__ = ["Expected"]

_VECTOR_BYTES: Final = 2 * DIMENSIONS
_PAGES_MAX: Final = 2**31 - 1


class Expected:
    """The chunks of one file, as they come. Everything raises `Malformed`."""

    def __init__(self, chunking: StaticChunkingOptions, *, text_bytes: int, embed: bool) -> None:
        self._chunking = chunking
        self._embed = embed
        self._count = 0
        # Windows end up to a tenth earlier than they must, and each but the first repeats its overlap.
        size, overlap = chunking.max_chunk_size_tokens, chunking.chunk_overlap_tokens
        self._text_left = int(text_bytes * size / (0.9 * size - overlap)) + size * TOKEN_BYTES_MAX

    def take(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            size = len(chunk.text)
            self._text_left -= size
            self._need(chunk.number == self._count, "a chunk's number")
            self._need(0 < chunk.tokens <= self._chunking.max_chunk_size_tokens, "a chunk's tokens")
            self._need(0 < size <= chunk.tokens * TOKEN_BYTES_MAX and self._text_left >= 0, "a chunk's length")
            self._need("\0" not in chunk.text and not chunk.text.isspace(), "a chunk's text")
            self._need(chunk.page is None or 0 < chunk.page <= _PAGES_MAX, "a chunk's page")
            self._need(
                (len(chunk.vector) if chunk.vector is not None else 0) == self._embed * _VECTOR_BYTES, "a vector"
            )
            self._need(_are_terms(chunk.terms, size), "terms")
            self._count += 1

    def finish(self, count: int) -> None:
        self._need(count == self._count, "the number of chunks")

    def sentence(self, message: str) -> str:
        """A refusal as it can be shown."""
        self._need(0 < len(message) <= REFUSAL_LENGTH_MAX and message.isprintable(), "a refusal")
        return message

    def _need(self, right: bool, what: str) -> None:
        if not right:
            raise Malformed(f"{what} is not right")


def _are_terms(packed: bytes, characters: int) -> bool:
    try:
        terms = unpack(packed)
    except ValueError:
        return False
    # A character may stand for a few words of its own: a ligature of several is taken apart.
    return len(terms.hashes) <= 20 * characters and bool((terms.hashes[1:] > terms.hashes[:-1]).all())
