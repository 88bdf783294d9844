"""What a session uses while its code runs, looked at several times a second. Which limit it is over, in words."""

from typing import Final

from understudy.sandbox import tree
from understudy.sandbox.folder import Folder
from understudy.sandbox.limits import SandboxLimits

__all__ = ["Excess", "excess"]

_MIB: Final = 1024 * 1024


class Excess(Exception):
    """A limit that is exceeded. `spoils_files`: it is the session's files that do."""

    def __init__(self, message: str, *, spoils_files: bool) -> None:
        super().__init__(message)
        self.spoils_files = spoils_files


def excess(root: int, folder: Folder, limits: SandboxLimits) -> Excess | None:
    """The limit that the processes below `root`, or the folder that they write, are over. May take milliseconds."""
    members = tree.below(root)
    if tree.memory_bytes(members, limits.memory_bytes) > limits.memory_bytes:
        return Excess(f"The code used more than {limits.memory_bytes // _MIB:,} MiB of memory.", spoils_files=False)
    if len(members) > limits.processes:
        # The kernel sees to this in a sandbox; without one it counts all processes of a user together.
        return Excess(f"The code started more than {limits.processes} processes.", spoils_files=False)
    used = folder.usage(entries=limits.entries, disk_bytes=limits.disk_bytes, depth=limits.nesting)
    if used.entries > limits.entries:
        return Excess(f"The code made more than {limits.entries:,} files in /mnt/data.", spoils_files=True)
    if used.depth > limits.nesting:
        return Excess(f"The code nested folders more than {limits.nesting} deep.", spoils_files=True)
    if used.disk_bytes + tree.unlinked_bytes(members, used.device) > limits.disk_bytes:
        return Excess(f"The code wrote more than {limits.disk_bytes // _MIB:,} MiB to /mnt/data.", spoils_files=True)
    if folder.free_bytes() < limits.disk_free_bytes:
        return Excess("The disk that /mnt/data is on is nearly full.", spoils_files=False)
    return None
