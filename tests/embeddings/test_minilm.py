"""MiniLM by onnxruntime computes what its description says, written down once more in numpy."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from understudy.core.limits import MINILM_WINDOW_TOKENS
from understudy.embeddings.choice import ChosenEmbedders
from understudy.embeddings.minilm import MiniLm
from understudy.models.none import NoModels
from understudy.ports import Embedder
from understudy.retrieval.minilm_files import MINILM, MINILM_TOKENIZER_FILE, MINILM_WEIGHTS_FILE

Weights = Mapping[str, NDArray[np.float32]]

WORDS = ["[PAD]", *(f"unused{place}" for place in range(1, 101)), "[CLS]", "[SEP]", "[UNK]", "wing", "flow", "heat"]
SIZE, HEADS, LAYERS, WIDE = 384, 12, 6, 1536


def chance() -> Weights:
    """Weights of the real shapes but for the words, and of no meaning."""
    random = np.random.default_rng(1)

    def some(*shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape, dtype=np.float32) / 20).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": some(len(WORDS), SIZE),
        "embeddings.position_embeddings.weight": some(512, SIZE),
        "embeddings.token_type_embeddings.weight": some(2, SIZE),
    }
    names = ["embeddings."]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        names += [f"{name}attention.output.", f"{name}output."]
        shapes = {
            "attention.self.query": (SIZE, SIZE),
            "attention.self.key": (SIZE, SIZE),
            "attention.self.value": (SIZE, SIZE),
            "attention.output.dense": (SIZE, SIZE),
            "intermediate.dense": (WIDE, SIZE),
            "output.dense": (SIZE, WIDE),
        }
        for part, shape in shapes.items():
            weights[f"{name}{part}.weight"], weights[f"{name}{part}.bias"] = some(*shape), some(shape[0])
    for name in names:
        weights[f"{name}LayerNorm.weight"], weights[f"{name}LayerNorm.bias"] = 1 + some(SIZE), some(SIZE)
    return weights


def write(directory: Path, weights: Weights) -> Path:
    head, packed = {}, b""
    for name, values in weights.items():
        offsets = [len(packed), len(packed) + values.nbytes]
        head[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
        packed += values.tobytes()
    described = json.dumps(head).encode()
    (directory / MINILM_WEIGHTS_FILE).write_bytes(len(described).to_bytes(8, "little") + described + packed)
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {word: place for place, word in enumerate(WORDS)},
    }
    lower = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {**lower, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": model,
    }
    (directory / MINILM_TOKENIZER_FILE).write_text(json.dumps(tokenizer))
    return directory


def computed(weights: Weights, ids: Sequence[int]) -> NDArray[np.float32]:
    """The sum of the last layer's tokens."""
    words = weights["embeddings.word_embeddings.weight"][list(ids)]
    places = weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = normed(weights, "embeddings.", words + places + weights["embeddings.token_type_embeddings.weight"][0])
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        query, key, value = (
            linear(weights, f"{name}attention.self.{one}", x).reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
            for one in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(SIZE / HEADS)
        weighed = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weighed /= weighed.sum(axis=-1, keepdims=True)
        seen = (weighed @ value).transpose(1, 0, 2).reshape(len(ids), SIZE)
        x = normed(weights, f"{name}attention.output.", x + linear(weights, f"{name}attention.output.dense", seen))
        wide = linear(weights, f"{name}intermediate.dense", x)
        wide = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        x = normed(weights, f"{name}output.", x + linear(weights, f"{name}output.dense", wide))
    return x.sum(axis=0)


def linear(weights: Weights, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def normed(weights: Weights, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    even = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
    return even * weights[f"{name}LayerNorm.weight"] + weights[f"{name}LayerNorm.bias"]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return chance()


@pytest.fixture(scope="module")
def model(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> MiniLm:
    return MiniLm.load(write(tmp_path_factory.mktemp("weights"), weights))


async def embedded(embedder: Embedder, *texts: str) -> NDArray[np.float32]:
    return np.stack([np.frombuffer(one, "<f2") for one in await embedder.embed(texts)]).astype(np.float32)


def unit(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    return sums / np.linalg.norm(sums)


async def test_texts_of_different_lengths_are_each_embedded_as_described(weights: Weights, model: MiniLm) -> None:
    wing, flow, heat = (WORDS.index(word) for word in ("wing", "flow", "heat"))
    found = await embedded(model, "Wing flow", "heat", "", "wing " * 5)
    expected = [[wing, flow], [heat], [], [wing] * 5]
    for one, ids in zip(found, expected, strict=True):
        assert one == pytest.approx(unit(computed(weights, [101, *ids, 102])), abs=1e-3)


async def test_a_long_text_is_the_mean_of_its_windows(weights: Weights, model: MiniLm) -> None:
    wing, flow = WORDS.index("wing"), WORDS.index("flow")
    [found] = await embedded(model, "wing " * MINILM_WINDOW_TOKENS + "flow flow")
    first = computed(weights, [101, *[wing] * MINILM_WINDOW_TOKENS, 102])
    assert found == pytest.approx(unit(first + computed(weights, [101, flow, flow, 102])), abs=1e-3)


async def test_it_is_preferred_where_it_is_chosen_and_there(weights: Weights, tmp_path: Path) -> None:
    embedders = ChosenEmbedders(NoModels(), None, tmp_path, local="minilm")
    assert await embedders.preferred() is None
    write(tmp_path, weights)
    found = await embedders.preferred()
    assert found is not None
    assert found.embedding == MINILM
    assert await ChosenEmbedders(NoModels(), None, tmp_path).preferred() is None


async def test_weights_that_lack_something_are_refused(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, {name: values for name, values in weights.items() if "layer.5" not in name})
    with pytest.raises(ValueError, match="lacks"):
        MiniLm.load(tmp_path)
