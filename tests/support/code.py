"""Servers and houses whose code interpreter really runs code, in the sandbox that the tests share."""

from pathlib import Path

from support.sandboxes import required

__all__ = ["sandbox_folder"]


def sandbox_folder(folder: Path) -> Path:
    """A `sandbox_dir` with the shared environment in it. Skips, or fails under CI, where there is no sandbox."""
    environment = required()
    made = folder / "sandbox"
    made.mkdir(parents=True, exist_ok=True)
    (made / "environment").symlink_to(environment, target_is_directory=True)
    return made
