"""Ways into other processes, other namespaces, the kernel and its devices: refused."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attacks import TRY
from support.sandboxes import USERS, Host, host
from understudy.confine.syscalls import MACHINES, NUMBERS, SANDBOX
from understudy.sandbox.tree import below

MACHINE = list(MACHINES).index(platform.machine()) if platform.machine() in MACHINES else 0
READ_ONLY = ("'EROFS'", "'EACCES'", "'ENOENT'", "'EPERM'")


@pytest.fixture(scope="module", params=USERS)
def masked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("masked"), request.param, proc="masked") as running:
        yield running


def test_every_refused_call_is_refused_by_this_kernel_too(server: Host) -> None:
    numbers = {name: NUMBERS[name][MACHINE] for name in SANDBOX}
    there = {name: number for name, number in numbers.items() if number is not None}
    said = server.run(TRY + f"{{name: call(number) for name, number in {there!r}.items()}}")
    assert said.values
    assert set(eval(said.values[0]).values()) == {"EPERM"}


@pytest.mark.parametrize("flag", [0x10000000, 0x00020000, 0x40000000, 0x20000000])
def test_no_namespace_is_made(server: Host, flag: int) -> None:
    clone, clone3 = NUMBERS["clone"][MACHINE], NUMBERS["clone3"][MACHINE]
    said = server.run(TRY + f"(call({clone}, {flag} | 17, 0, 0, 0, 0), call({clone3}, 0, 0))")
    assert said.values == ["('EPERM', 'ENOSYS')"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 has a second table of calls")
def test_the_x32_table_does_not_exist(server: Host) -> None:
    assert server.run(TRY + "call(0x40000000 | 101, 0, 0, 0, 0)").values == ["'ENOSYS'"]


def test_processes_of_the_machine_are_not_seen(server: Host) -> None:
    pids = (os.getpid(), server.process.pid)
    said = server.run(TRY + f"[attempt(lambda: os.kill(pid, 9)) for pid in {pids}]")
    assert said.values == ["['ESRCH', 'ESRCH']"]
    assert server.process.poll() is None


def test_the_first_process_is_not_traced_or_read(server: Host) -> None:
    ptrace, readv = NUMBERS["ptrace"][MACHINE], NUMBERS["process_vm_readv"][MACHINE]
    assert server.run(TRY + f"(call({ptrace}, 16, 1, 0, 0), call({readv}, 1, 0, 0, 0, 0, 0))").values == [
        "('EPERM', 'EPERM')"
    ]


def test_there_is_no_terminal_to_type_on(server: Host) -> None:
    code = """
import fcntl
def typed(): fcntl.ioctl(1, 0x5412, b"x")
[attempt(typed), attempt(lambda: open("/dev/tty")), attempt(lambda: open("/dev/console"))]
"""
    (shown,) = server.run(TRY + code).values
    assert shown in ("['EPERM', 'ENXIO', 'ENOENT']", "['EPERM', 'ENXIO', 'ENXIO']")


def test_device_nodes_are_neither_there_nor_made(server: Host) -> None:
    code = """
import stat
kinds = (stat.S_IFBLK, stat.S_IFCHR)
made = [attempt(lambda: os.mknod("/mnt/data/disk", kind | 0o600, os.makedev(8, 0))) for kind in kinds]
devices = ("kvm", "mem", "sda", "vda", "fuse", "loop-control", "net/tun")
(made, [name for name in devices if os.path.exists("/dev/" + name)])
"""
    assert server.run(TRY + code).values == ["(['EPERM', 'EPERM'], [])"]


@pytest.mark.parametrize(
    "path", ["/usr/x", "/opt/venv/x", "/opt/runner.py", "/etc/x", "/x", "/dev/x", "/mnt/x", "/bin/x"]
)
def test_nothing_is_written_outside_the_folders_for_it(server: Host, path: str) -> None:
    said = server.run(TRY + f"attempt(lambda: open({path!r}, 'a'))")
    assert said.values[0] in READ_ONLY


def test_the_kernels_settings_are_not_written(masked: Host) -> None:
    code = """
names = ("sys/kernel/core_pattern", "sys/kernel/panic", "sys/vm/drop_caches", "sysrq-trigger")
[attempt(lambda: os.write(os.open("/proc/" + name, os.O_WRONLY), b"")) for name in names]
"""
    (shown,) = masked.run(TRY + code).values
    *settings, _ = eval(shown)
    assert set(settings) <= {"EROFS", "EACCES"}
    # What stands in its place, where it stands at all, is /dev/null.
    assert masked.run(TRY + "attempt(lambda: os.stat('/proc/sysrq-trigger').st_rdev)").values in (
        [str(os.makedev(1, 3))],
        ["'ENOENT'"],
    )


def test_the_kernels_secrets_are_not_read(masked: Host) -> None:
    code = """
def seen(path):
    with open(path, "rb") as file:
        return len(file.read(100))
[attempt(lambda: seen("/proc/" + name)) for name in ("kallsyms", "kmsg", "config.gz", "keys", "iomem", "kcore")] + [
    attempt(lambda: os.listdir("/sys")), attempt(lambda: os.listdir("/proc/fs"))]
"""
    (shown,) = masked.run(TRY + code).values
    assert set(map(str, eval(shown))) <= {"0", "EACCES", "EPERM", "ENOENT", "[]"}


def test_limits_are_not_raised_and_nobody_becomes_root(server: Host) -> None:
    code = """
import resource, subprocess
def raised(kind):
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (hard + 1, hard + 1))
kinds = (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS)
[attempt(lambda: raised(kind)) for kind in kinds] + [attempt(lambda: os.setuid(0)), attempt(lambda: os.setgid(0)),
 subprocess.run(["su", "-c", "id"], capture_output=True).returncode == 0, os.getuid(), os.geteuid(), os.getgroups()]
"""
    (shown,) = server.run(TRY + code).values
    *refused, su_worked, uid, euid, groups = eval(shown)
    assert set(refused) <= {"EPERM", "ValueError", "EINVAL"}
    assert (su_worked, uid, euid) == (False, 1000, 1000)
    assert 0 not in groups


def test_the_code_has_no_capabilities_and_gets_none(masked: Host) -> None:
    code = """
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
[status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")]
"""
    (shown,) = masked.run(code).values
    *capabilities, no_new_privileges, seccomp = eval(shown)
    assert {int(each, 16) for each in capabilities} == {0}
    assert (no_new_privileges, seccomp) == ("1", "2")


def test_the_code_is_never_the_machines_root(server: Host) -> None:
    number = server.begin("execute", key="owner", code="import time\ntime.sleep(20)", seconds=20)
    server.ask("running", key="owner")
    own = real_uids(server.process.pid)
    theirs = [real_uids(member.pid) for member in below(server.process.pid)]
    server.ask("interrupt", key="owner")
    server.finish(number)
    assert len(theirs) >= 3
    assert all(0 not in uids for uids in theirs)
    assert 0 in own or all(uids == own for uids in theirs)


def real_uids(pid: int) -> list[int]:
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    return [int(word) for word in line.split()[1:]]
