"""The process that code without a sandbox hangs from: it starts the runner, and ends all that comes of it.

It is handed to the environment's Python as text, is never imported by the server, and imports nothing of ours. What
loses its parent becomes its child. It ends, after all below it, when the runner does, at SIGTERM, or with its server.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

AWAITED = {signal.SIGCHLD, signal.SIGTERM}


def prctl(option: int, value: int) -> None:
    words = [ctypes.c_ulong(word) for word in (value, 0, 0, 0)]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *words) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def end_with(parent: int, number: signal.Signals) -> None:
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)  # it has ended before this was asked for


def become_runner(options: dict[str, Any], keeper: int) -> None:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
    end_with(keeper, signal.SIGKILL)
    os.chdir(options["folder"])
    python = options["python"]
    os.execve(python, [python, "-I", "-c", options["runner"], options["options"]], options["environment"])  # noqa: S606


def reaped(runner: int) -> int | None:
    """Reaps all that has ended. How the runner did, in a shell's way, once it has."""
    code = None
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if found[0] == runner:
                ended = os.waitstatus_to_exitcode(found[1])
                code = ended if ended >= 0 else 128 - ended
    except ChildProcessError:
        pass
    return code


def end_children() -> None:
    """Returns when there are none, nor children of theirs: those become this process's when their parents end."""
    while True:
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split():
            os.kill(int(pid), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main() -> None:
    options = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    os.setsid()
    end_with(options["server"], signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if options["block"] is not None:
        os.read(options["block"], 1)
    keeper = os.getpid()
    runner = os.fork()
    if runner == 0:
        become_runner(options, keeper)
    os.closerange(0, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    code = None
    while code is None:
        code = 128 + signal.SIGTERM if signal.sigwait(AWAITED) == signal.SIGTERM else reaped(runner)
    end_children()
    os._exit(code)


if __name__ == "__main__":
    main()
