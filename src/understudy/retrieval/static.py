"""The built-in embedding: a text is the mean of its tokens' vectors, which stand in a file. No network, no layers.

The file is WordLlama's (MIT): 32,000 tokens of the Llama 2 tokenizer, 256 numbers each.
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import splintr
from numpy.typing import NDArray

from understudy.core.limits import STATIC_BATCH_CHARACTERS
from understudy.retrieval.safetensors import read_tensors

__all__ = ["DIMENSIONS", "MODEL", "TOKENIZER_FILE", "VECTORS_FILE", "StaticModel", "has_weights"]

MODEL: Final = "wordllama-l2-supercat"
DIMENSIONS: Final = 256
VECTORS_FILE: Final = "wordllama-l2-supercat-256.safetensors"
TOKENIZER_FILE: Final = "wordllama-l2-supercat-tokenizer.json"

_TENSOR: Final = "embedding.weight"


def has_weights(directory: Path) -> bool:
    """Whether the model's two files are there, good or not."""
    return all((directory / name).is_file() for name in (VECTORS_FILE, TOKENIZER_FILE))


class StaticModel:
    """Texts -> vectors of length 1 as float16, little-endian. A text without any token is the zero vector.

    Safe in several threads; 32 MB.
    """

    def __init__(self, rows: NDArray[np.float32], tokenizer: "splintr.AnyTokenizer") -> None:
        self._rows = rows
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, directory: Path) -> "StaticModel":
        """The model whose two files are in `directory`. Raises `FileNotFoundError`, and `ValueError` for others'."""
        rows = _rows(directory / VECTORS_FILE)
        path = directory / TOKENIZER_FILE
        if not path.is_file():
            raise FileNotFoundError(str(path))
        tokenizer = splintr.from_json(os.fspath(path))
        if tokenizer.vocab_size > len(rows):
            raise ValueError(f"{VECTORS_FILE} does not hold the vectors of all tokens")
        return cls(rows, tokenizer)

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        sums: list[NDArray[np.float32]] = []
        start, size = 0, 0
        for end, text in enumerate(texts, 1):
            size += len(text)
            if size >= STATIC_BATCH_CHARACTERS or end == len(texts):
                sums += self._sums(texts[start:end])
                start, size = end, 0
        return _packed(sums)

    def embed_windows(self, text: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The vectors of windows of one text, `(start, end)` in characters, which may overlap.

        What windows share is read once: a mean of tokens is a sum of its parts. Tokens that a cut goes through differ
        from those of the window alone; the cosine between the two is above 0.99 for windows of a hundred words.
        """
        cuts = sorted({cut for span in spans for cut in span})
        pieces = [text[start:end] for start, end in pairwise(cuts)]
        place = {cut: number for number, cut in enumerate(cuts)}
        wanted = np.zeros(len(pieces) + 1, np.int32)
        for start, end in spans:
            wanted[place[start]] += 1
            wanted[place[end]] -= 1
        covered = np.cumsum(wanted)[:-1] > 0  # what lies between two windows is not read
        sums = np.zeros((len(pieces), self._rows.shape[1]), np.float32)
        if covered.any():
            sums[covered] = self._sums([piece for piece, used in zip(pieces, covered, strict=True) if used])
        return _packed([sums[place[start] : place[end]].sum(axis=0) for start, end in spans])

    def _sums(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Each text's sum of token vectors."""
        # A line's end is a token of its own, and would pull each text towards all others.
        plain = [" ".join(text.split()) for text in texts]
        encodable = [text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in plain]
        # One by one: the tokenizer's threads for many texts at once are not there in a fork, which would wait for ever.
        flat = [np.frombuffer(self._tokenizer.encode_flat(text), "<u4") for text in encodable]
        # The tokenizer begins every text with the token of a beginning, which says nothing of it.
        return [self._rows[ids[1:]].sum(axis=0) for ids in flat]


def _packed(sums: Sequence[NDArray[np.float32]]) -> list[bytes]:
    vectors = []
    for one in sums:
        length = float(np.linalg.norm(one))
        vectors.append((one / length if length else one).astype("<f2").tobytes())
    return vectors


def _rows(path: Path) -> NDArray[np.float32]:
    rows = read_tensors(path).get(_TENSOR)
    if rows is None or rows.ndim != 2 or rows.shape[1] != DIMENSIONS:
        raise ValueError(f"{path.name} does not hold the vectors of tokens")
    return rows
