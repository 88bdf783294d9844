"""What bubblewrap says where it may not do its work, and the one sentence that mends it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.sandboxes import required
from understudy.confine import bpf
from understudy.confine.syscalls import MACHINES, NUMBERS
from understudy.sandbox.diagnosis import OLD_BWRAP, diagnosed, unreachable


@pytest.mark.parametrize(
    ("said", "mends"),
    [
        (
            "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged "
            "user namespaces.",
            "seccomp profile",
        ),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
        (
            "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
            "sysctl user.max_user_namespaces",
        ),
        ("bwrap: setting up uid map: Permission denied", "AppArmor profile"),
        ("bwrap: cannot open /proc/sys/user/max_user_namespaces: Read-only file system", "/proc/sys is read-only"),
        ("bwrap: Unknown option --size", OLD_BWRAP),
        ("Traceback ...\nModuleNotFoundError: No module named 'IPython'", "`understudy sandbox init`"),
        ("bwrap: execvp /opt/venv/bin/python: No such file or directory", "`understudy sandbox init`"),
        ("", "it ended without a word"),
        ("first\nbwrap: something new\n", "bwrap: something new"),
    ],
)
def test_a_cause_is_told_with_what_mends_it(said: str, mends: str) -> None:
    sentence = diagnosed(said)
    assert mends in sentence
    assert "\n" not in sentence
    assert "code interpreter" in sentence


def test_a_kernel_that_allows_no_namespaces_is_recognised_by_what_bubblewrap_really_says() -> None:
    required()
    # What a container's own filter does: namespaces are refused.
    code = """
import ctypes, os, shutil, sys
bwrap = shutil.which("bwrap")
libc = ctypes.CDLL(None)
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))
filter_ = bytes.fromhex(sys.argv[1])
program = Program(len(filter_) // 8, filter_)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(program)) == 0
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(61700), os.setuid(61700)
os.execv(bwrap, [bwrap, "--unshare-user", "--ro-bind", "/", "/", "true"])
"""
    said = subprocess.run(
        [sys.executable, "-c", code, no_namespaces().hex()], capture_output=True, text=True, timeout=20, check=False
    )
    assert said.returncode != 0
    assert "seccomp profile" in diagnosed(said.stderr), said.stderr


def no_namespaces() -> bytes:
    machine = os.uname().machine
    number = NUMBERS["clone"][list(MACHINES).index(machine)]
    assert number is not None
    rule = bpf.number_is(number, [*bpf.argument_sets(0, 0x10000000, bpf.refuse(1)), bpf.ALLOW])
    return bpf.assembled(MACHINES[machine], [rule])


def test_a_folder_that_the_sandboxes_user_cannot_come_to_is_named() -> None:
    assert "/srv/private" in unreachable(Path("/srv/private"), 61_000)
