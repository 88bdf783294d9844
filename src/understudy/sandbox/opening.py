"""Which sandboxes a server has: this machine's, those of other machines, or none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from understudy.ports import Sandboxes
from understudy.sandbox.absent import NoSandboxes
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.remote import RemoteSandboxes

__all__ = ["PRELOADED", "environment_in", "open_local_sandboxes", "open_sandboxes"]

OFF: Final = 'The code interpreter is switched off on this server (`code_interpreter = "off"`).'
KEYLESS: Final = "The code interpreter's daemons want a key: set `sandbox_key`, the same at both."
# What most code imports, and what takes long to: loaded in a session that waits for its first call.
PRELOADED: Final = ("numpy", "pandas", "matplotlib.pyplot")


def open_sandboxes(
    *,
    folder: Path,
    wanted: bool = True,
    urls: Sequence[str] = (),
    key: str | None = None,
    limits: SandboxLimits | None = None,
    sessions_max: int | None = None,
) -> Sandboxes:
    """Those of the daemons at `urls`, else those of this machine with its environment and files below `folder`.

    Nothing is looked at before the first use: it is `open` that raises `SandboxUnavailable`, with what mends it.
    """
    if not wanted:
        return NoSandboxes(OFF)
    if urls:
        return NoSandboxes(KEYLESS) if key is None else RemoteSandboxes(urls, key)
    return open_local_sandboxes(folder, limits=limits, sessions_max=sessions_max)


def open_local_sandboxes(
    folder: Path, *, limits: SandboxLimits | None = None, sessions_max: int | None = None
) -> LocalSandboxes:
    """This machine's."""
    return LocalSandboxes(
        environment=environment_in(folder),
        folder=folder / "sessions",
        limits=limits,
        sessions_max=sessions_max,
        preload=PRELOADED,
    )


def environment_in(folder: Path) -> Path:
    """Where `understudy sandbox init` puts the Python environment."""
    return folder / "environment"
