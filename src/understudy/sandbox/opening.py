"""Which sandboxes a server has: this machine's, those of other machines, or none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import structlog

from understudy.ports import Sandboxes
from understudy.sandbox.absent import NoSandboxes
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.plain import PlainSandboxes, whose_rights
from understudy.sandbox.remote import RemoteSandboxes

__all__ = ["PRELOADED", "CodeInterpreterMode", "environment_in", "open_local_sandboxes", "open_sandboxes"]

log = structlog.get_logger(__name__)

# Where code runs: held in a sandbox, as a plain child process, or nowhere.
CodeInterpreterMode: TypeAlias = Literal["sandbox", "unsafe-local", "off"]

OFF: Final = 'The code interpreter is switched off on this server (`code_interpreter = "off"`).'
KEYLESS: Final = "The code interpreter's daemons want a key: set `sandbox_key`, the same at both."
# What most code imports, and what takes long to: loaded in a session that waits for its first call.
PRELOADED: Final = ("numpy", "pandas", "matplotlib.pyplot")


def open_sandboxes(
    *,
    folder: Path,
    mode: CodeInterpreterMode = "sandbox",
    urls: Sequence[str] = (),
    key: str | None = None,
    limits: SandboxLimits | None = None,
    sessions_max: int | None = None,
    warm: int | None = None,
) -> Sandboxes:
    """Those of the daemons at `urls`, else those of this machine with its environment and files below `folder`.

    Nothing is looked at before the first use: it is `open` that raises `SandboxUnavailable`, with what mends it.
    """
    if mode == "off":
        return NoSandboxes(OFF)
    if urls:
        assert mode == "sandbox", "daemons have no other"
        return NoSandboxes(KEYLESS) if key is None else RemoteSandboxes(urls, key)
    sandboxed = mode != "unsafe-local"
    return open_local_sandboxes(folder, sandboxed=sandboxed, limits=limits, sessions_max=sessions_max, warm=warm)


def open_local_sandboxes(
    folder: Path,
    *,
    sandboxed: bool = True,
    limits: SandboxLimits | None = None,
    sessions_max: int | None = None,
    warm: int | None = None,
) -> LocalSandboxes:
    """This machine's. That they have no sandbox is logged, each time."""
    if not sandboxed:
        log.warning("code_runs_without_a_sandbox", it_has_the_rights_of=whose_rights())
    made = LocalSandboxes if sandboxed else PlainSandboxes
    return made(
        environment=environment_in(folder),
        folder=(folder / "sessions").resolve(),
        limits=limits,
        sessions_max=sessions_max,
        warm=warm,
        preload=PRELOADED,
    )


def environment_in(folder: Path) -> Path:
    """Where `understudy sandbox init` puts the Python environment."""
    return folder / "environment"
