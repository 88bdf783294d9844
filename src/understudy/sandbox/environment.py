"""The Python environment that the code runs in: one of its own, with IPython in it, never the server's."""

import fcntl
import os
from pathlib import Path

from msgspec import Struct

from understudy.ports import SandboxUnavailable

__all__ = ["INIT", "Environment", "lock_of", "read_environment"]

INIT = "run `understudy sandbox init`"
_LINKS_MAX = 8


class Environment(Struct, frozen=True):
    """A virtual environment. `bases` are the folders of its interpreter that have to be where they are, read-only."""

    root: Path
    bases: tuple[Path, ...] = ()


def read_environment(root: Path) -> Environment:
    """Raises `SandboxUnavailable` for a folder that is no environment, or one without IPython."""
    root = root.resolve()
    python = root / "bin" / "python"
    if not (root / "pyvenv.cfg").is_file() or not python.exists():
        if _is_being_made(root):
            raise SandboxUnavailable("The code interpreter's environment is being made: try again in a minute.")
        raise SandboxUnavailable(f"There is no Python environment for the code interpreter in {root}: {INIT}.")
    if not any(root.glob("lib/python3*/site-packages/IPython/__init__.py")):
        raise SandboxUnavailable(f"The code interpreter's environment in {root} lacks IPython: {INIT} again.")
    return Environment(root, _bases(python))


def lock_of(root: Path) -> Path:
    """The file that whoever makes the environment holds a lock on meanwhile."""
    return root.with_name(f"{root.name}.lock")


def _is_being_made(root: Path) -> bool:
    try:
        with lock_of(root).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _bases(python: Path) -> tuple[Path, ...]:
    """Where the chain of links from the environment's interpreter leads through, apart from /usr."""
    places: dict[Path, None] = {}
    root = python.parent.parent
    for _ in range(_LINKS_MAX):
        if not python.is_symlink():
            break
        python = Path(os.path.normpath(python.parent / python.readlink()))
        places[python.parent.parent] = None
    places[python.resolve().parent.parent] = None
    return tuple(place for place in places if place != root and not place.is_relative_to("/usr") and place != Path("/"))
