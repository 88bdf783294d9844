"""Weights made on the spot, small enough for a test, of the built-in embedding's shape."""

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from understudy.retrieval.static import DIMENSIONS, TOKENIZER_FILE, VECTORS_FILE, StaticModel

__all__ = ["REAL_WEIGHTS_ENV", "real_static_model", "write_static_weights"]

REAL_WEIGHTS_ENV = "UNDERSTUDY_TEST_WEIGHTS"
TEXT = "the a wing flow wave heat plate shock boundary layer cat dog cats dogs purr bark red green blue"
WORDS = TEXT.split()


def write_static_weights(directory: Path) -> Path:
    """Files as the real ones, of a few words and all bytes. Words near each other in `WORDS` have near vectors."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    letters = sorted({letter for word in WORDS for letter in word})
    vocabulary = {token: place for place, token in enumerate([*tokens, *letters])}
    merges: list[str] = []
    for word in WORDS:
        left = "▁"
        for letter in word:
            if left + letter not in vocabulary:
                vocabulary[left + letter] = len(vocabulary)
                merges.append(f"{left} {letter}")
            left += letter
    directory.mkdir(parents=True, exist_ok=True)
    (directory / TOKENIZER_FILE).write_text(json.dumps(_tokenizer(vocabulary, merges)))
    numbers = np.random.default_rng(1).standard_normal((len(vocabulary), DIMENSIONS)).astype("<f2")
    for near, word in pairwise(WORDS):
        numbers[vocabulary[f"▁{word}"]] += numbers[vocabulary[f"▁{near}"]] / 2
    head = {
        "embedding.weight": {"dtype": "F16", "shape": list(numbers.shape), "data_offsets": [0, numbers.nbytes]},
    }
    packed = json.dumps(head).encode()
    (directory / VECTORS_FILE).write_bytes(len(packed).to_bytes(8, "little") + packed + numbers.tobytes())
    return directory


def real_static_model() -> StaticModel:
    """The real weights; a test that wants them is skipped where nobody fetched them, but fails in CI."""
    directory = Path(os.environ.get(REAL_WEIGHTS_ENV) or Path(__file__).parents[2] / "data" / "weights")
    try:
        return StaticModel.load(directory)
    except FileNotFoundError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the built-in embedding's weights are not in {directory}: `make local` fetches them")


def _tokenizer(vocabulary: dict[str, int], merges: list[str]) -> dict[str, object]:
    special = [
        {"id": place, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        | {"special": True}
        for place, token in enumerate(("<unk>", "<s>", "</s>"))
    ]
    begin = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    spaces = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    return {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": spaces},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": begin,
            "pair": begin,
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocabulary,
            "merges": merges,
        },
    }
