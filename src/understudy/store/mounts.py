"""Whether a file lies on a file system that several machines share: SQLite's log needs memory that all who write share.

https://sqlite.org/wal.html: "All processes using a database must be on the same host computer; WAL does not work over
a network filesystem."
"""

import re
from pathlib import Path
from typing import Final

__all__ = ["network_file_system"]

_MOUNTS: Final = Path("/proc/self/mountinfo")
_SHARED: Final = frozenset(
    [
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "glusterfs", "lustre", "beegfs"),
        *("gfs2", "ocfs2", "gpfs", "orangefs", "pvfs2", "coda", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph"),
        *("fuse.ceph-fuse", "fuse.davfs2", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.juicefs", "fuse.mfs"),
        *("fuse.moosefs", "fuse.seaweedfs", "fuse.mount-s3", "fuse.smbnetfs", "fuse.goofys", "fuse.blobfuse2"),
    ]
)


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of the file system that the path is on, if several machines may share it; `None` where nobody tells."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None  # not Linux
    whole = path.resolve()
    found = None
    # Of mounts one over the other the last one counts, and of nested ones the deepest.
    depth = 0
    for line in lines:
        fields, _, behind = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4]))
        if whole.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = behind, len(point.parts)
    kind, _, options = (found or "").partition(" ")
    # gVisor shows the disk of its own machine as 9p.
    is_local = kind == "9p" and re.search(r"\b(directfs|overlayfs_stale_read|disable_fifo_open)\b", options) is not None
    return kind if kind in _SHARED and not is_local else None
