"""The built-in embedding, over weights of a few words, and over the real ones where they are."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import understudy
from support.weights import real_static_model, write_static_weights
from understudy.retrieval.static import DIMENSIONS, TOKENIZER_FILE, VECTORS_FILE, StaticModel


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StaticModel:
    return StaticModel.load(write_static_weights(tmp_path_factory.mktemp("weights")))


def numbers(vectors: list[bytes]) -> NDArray[np.float32]:
    return np.stack([np.frombuffer(one, "<f2") for one in vectors]).astype(np.float32)


def test_a_vector_has_length_1(model: StaticModel) -> None:
    vectors = numbers(model.embed(["the wing", "漢字 \ud800 \x00", "a" * 10_000]))
    assert vectors.shape == (3, DIMENSIONS)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-3)


def test_a_text_without_tokens_is_zero(model: StaticModel) -> None:
    assert model.embed([""]) == [bytes(2 * DIMENSIONS)]
    assert model.embed([]) == []


def test_words_that_belong_together_are_near(model: StaticModel) -> None:
    wing, flow, dog = numbers(model.embed(["wing", "flow", "dog"]))
    assert wing @ flow > wing @ dog + 0.2


def test_many_texts_are_embedded_as_each_alone(model: StaticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.retrieval.static.STATIC_BATCH_CHARACTERS", 10)
    texts = ["wing", "flow and heat " * 3, "", "dog"]
    assert model.embed(texts) == [vector for text in texts for vector in model.embed([text])]


def test_windows_are_embedded_as_texts_of_their_own(model: StaticModel) -> None:
    text = "wing flow wave heat plate shock boundary layer cat dog " * 20
    cuts = [0, *(place for place, letter in enumerate(text) if letter == " "), len(text)][::20]
    spans = [*zip(cuts, cuts[2:], strict=False), (3, 3)]
    windows = numbers(model.embed_windows(text, spans))
    alone = numbers(model.embed([text[start:end] for start, end in spans]))
    assert ((windows * alone).sum(axis=1)[:-1] > 0.99).all()
    assert not windows[-1].any()


def test_what_no_window_covers_is_not_read(model: StaticModel) -> None:
    near = numbers(model.embed_windows("wing dog dog wing", [(0, 4), (13, 17)]))
    wing = numbers(model.embed(["wing"]))[0]
    assert near[0] @ wing > 0.99
    assert near[1] @ wing > 0.99
    assert model.embed_windows("wing", []) == []


def test_the_real_weights_know_what_is_alike() -> None:
    model = real_static_model()
    car, engine, soup = numbers(model.embed(["the car does not start", "engine failure of a vehicle", "tomato soup"]))
    assert car @ engine > car @ soup + 0.1


def test_weights_that_are_missing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StaticModel.load(tmp_path)
    write_static_weights(tmp_path)
    (tmp_path / TOKENIZER_FILE).unlink()
    with pytest.raises(FileNotFoundError):
        StaticModel.load(tmp_path)


def broken(whole: bytes) -> list[bytes]:
    head = b'{"embedding.weight":{"dtype":"F32","shape":[1,256],"data_offsets":[0,1024]}}'
    other = b'{"other":{"dtype":"F16","shape":[1,256],"data_offsets":[0,512]}}'
    packed = [len(one).to_bytes(8, "little") + one + bytes(1024) for one in (head, other, b"{" * 10)]
    return [b"", b"\xff" * 100, whole[:-1], *packed]


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    write_static_weights(tmp_path)
    path = tmp_path / VECTORS_FILE
    for content in broken(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=VECTORS_FILE):
            StaticModel.load(tmp_path)


def test_words_that_do_not_belong_together_are_far_apart(model: StaticModel) -> None:
    vectors = numbers(model.embed(["wing", "dog", "red"]))
    assert all(one @ other < 0.5 for one, other in pairwise(vectors))


FORK = """
import os, sys
from pathlib import Path
import splintr
from understudy.retrieval.static import TOKENIZER_FILE, StaticModel
directory = Path(sys.argv[1])
model = StaticModel.load(directory)
splintr.from_json(str(directory / TOKENIZER_FILE)).encode_batch(["red cat"] * 5000)  # starts the library's threads
if os.fork() == 0:
    model.embed(["red cat"] * 5000)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="nobody forks elsewhere")
def test_a_fork_can_embed_though_threads_were_running(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(understudy.__file__).parents[1])}
    command = [sys.executable, "-c", FORK, str(write_static_weights(tmp_path))]
    assert subprocess.run(command, env=environment, timeout=20, check=False).returncode == 0
