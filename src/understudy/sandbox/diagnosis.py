"""Why a sandbox did not start, and what mends it, in one sentence: from what bubblewrap and the kernel say."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = [
    "NO_BWRAP",
    "NO_LINUX",
    "NO_OTHER_USER",
    "OLD_BWRAP",
    "diagnosed",
    "escaped",
    "unreachable",
]

_SERVE: Final = "`understudy sandbox serve`"
NO_LINUX: Final = (
    "The code interpreter's sandbox needs Linux on x86_64 or aarch64: run the server, or only its sandboxes with "
    f"{_SERVE}, in a Linux container or virtual machine."
)
NO_BWRAP: Final = (
    "The code interpreter needs bubblewrap, which is not installed: `apt-get install bubblewrap`, "
    "`dnf install bubblewrap` or `pacman -S bubblewrap`."
)
OLD_BWRAP: Final = (
    "The code interpreter needs bubblewrap 0.8 or newer, and an older one is installed: upgrade the distribution, or "
    f"run the sandboxes with {_SERVE} on another machine."
)
NO_OTHER_USER: Final = (
    "The server runs as root but may not start the code interpreter's sandbox as another user: run the server as an "
    "ordinary user, or give its container the capabilities SETUID and SETGID."
)


def unreachable(place: Path, uid: int) -> str:
    return (
        f"The code interpreter's user ({uid}) cannot come to {place}: run the server as an ordinary user, or move this "
        "folder to where everybody may enter."
    )


_CAUSES: Final[Sequence[tuple[str, str]]] = (
    (
        r"No permissions to create new namespace|Creating new namespace failed: Operation not permitted",
        "The kernel or the container forbids the code interpreter's sandbox to make user namespaces: in Docker or "
        "Kubernetes run with a seccomp profile that permits clone, unshare, mount and pivot_root for namespaces "
        "(Docker: `--security-opt seccomp=PROFILE.json`), elsewhere set "
        "`sysctl kernel.unprivileged_userns_clone=1`.",
    ),
    (
        r"Can't mount proc|Can't mount devpts .*Operation not permitted",
        "The container hides parts of /proc, and so the code interpreter's sandbox gets none of its own: set its "
        "/proc to `empty`, or run with `--security-opt systempaths=unconfined` (Docker), `--security-opt unmask=ALL` "
        "(Podman), `procMount: Unmasked` with `hostUsers: false` (Kubernetes).",
    ),
    (
        r"max_user_namespaces.*(Read-only|Permission)|(open|write).*/proc/sys/user/max_user_namespaces",
        "The container's /proc/sys is read-only, and the code interpreter's sandbox cannot forbid further user "
        "namespaces: run with `--security-opt systempaths=unconfined` (Docker), `--security-opt unmask=ALL` (Podman), "
        "`procMount: Unmasked` with `hostUsers: false` (Kubernetes).",
    ),
    (
        r"max_\*?_?\w*namespaces exceeded|ENOSPC|No space left on device",
        "The code interpreter's sandbox gets no user namespace, for this machine's number of them is used up or set to "
        "0: raise it, `sysctl user.max_user_namespaces=15000`.",
    ),
    (
        r"setting up uid map: Permission denied|loopback: Failed RTM_NEWADDR",
        "AppArmor forbids the code interpreter's sandbox to use user namespaces, as Ubuntu does since 23.10: give "
        "/usr/bin/bwrap an AppArmor profile with `userns,`, or set "
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`.",
    ),
    (
        r"ModuleNotFoundError|ImportError|No such file or directory.*python|execvp .*python",
        "The code interpreter's environment does not work: run `understudy sandbox init` again.",
    ),
    (
        r"Unknown option",
        OLD_BWRAP,
    ),
)


def diagnosed(said: str) -> str:
    """What bubblewrap, or the Python inside, said before it ended, as one sentence with what mends it."""
    for pattern, sentence in _CAUSES:
        if re.search(pattern, said):
            return sentence
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1].strip()[:300] if lines else "it ended without a word"
    return f"The code interpreter's sandbox did not start: {last}"


def escaped(what: Sequence[str]) -> str:
    return f"The code interpreter's sandbox does not hold on this machine ({', '.join(what)}): it is not used."
