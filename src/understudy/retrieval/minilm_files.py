"""all-MiniLM-L6-v2 by its names. What runs it is an optional part: `embeddings/minilm.py`."""

from pathlib import Path
from typing import Final

from understudy.ports import Embedding

__all__ = ["MINILM", "MINILM_TOKENIZER_FILE", "MINILM_WEIGHTS_FILE", "has_minilm"]

MINILM: Final = Embedding(model="all-MiniLM-L6-v2", dimensions=384)
MINILM_WEIGHTS_FILE: Final = "all-MiniLM-L6-v2.safetensors"
MINILM_TOKENIZER_FILE: Final = "all-MiniLM-L6-v2-tokenizer.json"


def has_minilm(directory: Path) -> bool:
    """Whether its two files are there, good or not."""
    return all((directory / name).is_file() for name in (MINILM_WEIGHTS_FILE, MINILM_TOKENIZER_FILE))
