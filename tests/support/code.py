"""Servers whose code interpreter really runs code, in the environment that the tests share."""

from pathlib import Path

from support.sandbox_environment import Unavailable, build
from support.sandboxes import required

__all__ = ["sandbox_folder", "sandbox_folder_if_there"]


def sandbox_folder(folder: Path) -> Path:
    """A `sandbox_dir` with the environment in it. Skips, or fails under CI, where there is no sandbox."""
    return _made(folder, required())


def sandbox_folder_if_there(folder: Path) -> Path:
    """The same, empty where there is no environment: for servers of which only some tests run code."""
    try:
        return _made(folder, build())
    except Unavailable:
        return folder / "sandbox"


def _made(folder: Path, environment: Path) -> Path:
    made = folder / "sandbox"
    made.mkdir(parents=True, exist_ok=True)
    (made / "environment").symlink_to(environment, target_is_directory=True)
    return made
