"""What the filters say of each call, for both processors, by the kernel's own rules."""

import errno
import platform
import re
from pathlib import Path

import pytest

from support.bpf import ALLOWED, KILLED, verdict
from understudy.confine import network_filter, sandbox_filter
from understudy.confine.syscalls import MACHINES, NETWORK, NUMBERS, SANDBOX

HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}
ON = pytest.mark.parametrize("machine", MACHINES)
READ = {"x86_64": 0, "aarch64": 63}
IOCTL = {"x86_64": 16, "aarch64": 29}
EAFNOSUPPORT = 97
CLONE_THREAD_FLAGS = 0x3D0F00
CLONE_NEWUSER = 0x10000000


def number(name: str, machine: str) -> int | None:
    return NUMBERS[name][list(MACHINES).index(machine)]


def sandbox_says(machine: str, name: str, *arguments: int) -> int | str:
    called = number(name, machine)
    assert called is not None
    return verdict(sandbox_filter(machine), MACHINES[machine].arch, called, arguments)


@pytest.mark.parametrize(("machine", "name"), [(m, n) for m in MACHINES for n in SANDBOX if number(n, m) is not None])
def test_the_sandbox_is_refused_what_leads_out_of_it(machine: str, name: str) -> None:
    assert sandbox_says(machine, name) == errno.EPERM


@ON
@pytest.mark.parametrize("name", NETWORK)
def test_a_process_without_network_is_refused_every_socket_call(machine: str, name: str) -> None:
    called = number(name, machine)
    assert called is not None
    assert verdict(network_filter(machine), MACHINES[machine].arch, called) == errno.EPERM


@ON
def test_what_no_rule_names_is_allowed(machine: str) -> None:
    for filter_ in (sandbox_filter(machine), network_filter(machine)):
        assert verdict(filter_, MACHINES[machine].arch, READ[machine]) == ALLOWED


@ON
@pytest.mark.parametrize("family", [1, 2, 10])
def test_the_sandbox_may_make_sockets_of_local_families(machine: str, family: int) -> None:
    assert sandbox_says(machine, "socket", family) == ALLOWED


@ON
@pytest.mark.parametrize("family", [0, 3, 16, 17, 38, 40, 44])
def test_the_sandbox_gets_no_other_sockets(machine: str, family: int) -> None:
    assert sandbox_says(machine, "socket", family) == EAFNOSUPPORT


@ON
def test_the_sandbox_makes_threads_but_no_namespaces(machine: str) -> None:
    assert sandbox_says(machine, "clone", CLONE_THREAD_FLAGS) == ALLOWED
    assert sandbox_says(machine, "clone", CLONE_NEWUSER | 17) == errno.EPERM
    assert sandbox_says(machine, "clone3") == errno.ENOSYS


@ON
@pytest.mark.parametrize(("request_", "answer"), [(0x5412, errno.EPERM), (0x541C, errno.EPERM), (0x5401, ALLOWED)])
def test_the_sandbox_cannot_type_on_a_terminal(machine: str, request_: int, answer: int | str) -> None:
    said = verdict(sandbox_filter(machine), MACHINES[machine].arch, IOCTL[machine], (3, request_))
    assert said == answer


@ON
def test_calls_by_another_processors_table_kill(machine: str) -> None:
    i386 = 0x40000003
    for filter_ in (sandbox_filter(machine), network_filter(machine)):
        assert verdict(filter_, i386, READ[machine]) == KILLED


def test_the_x32_table_does_not_exist() -> None:
    assert verdict(sandbox_filter("x86_64"), MACHINES["x86_64"].arch, 0x40000000 | 101) == errno.ENOSYS


@ON
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = Path("/usr/include") / HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text("utf-8")))
    ours = {name: number(name, machine) for name in NUMBERS}
    # The header may be older than a call.
    assert {name: int(known[name]) for name in ours if name in known} == {
        name: value for name, value in ours.items() if name in known
    }


def test_the_filter_of_this_machine_is_the_one_that_is_made() -> None:
    if platform.machine() not in MACHINES:
        pytest.skip(f"there are no filters for {platform.machine()}")
    assert sandbox_filter() == sandbox_filter(platform.machine())
