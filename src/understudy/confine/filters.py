"""The two filters: one that takes a process the network, and the sandbox's."""

import errno
import platform
import sys
from collections.abc import Sequence
from typing import Final

from understudy.confine.bpf import (
    ALLOW,
    Instructions,
    argument_is,
    argument_is_none_of,
    argument_sets,
    assembled,
    number_is,
    refuse,
)
from understudy.confine.syscalls import MACHINES, NETWORK, NUMBERS, SANDBOX

__all__ = ["filters_exist", "network_filter", "sandbox_filter"]

_NEW_NAMESPACES: Final = 0x7E020000  # every CLONE_NEW* that clone() takes
_FAMILIES: Final = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_EAFNOSUPPORT: Final = 97
_ENOSYS: Final = 38
_IOCTL: Final = {"x86_64": 16, "aarch64": 29}
_TERMINAL_INPUT: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing on somebody else's terminal


def filters_exist(machine: str | None = None) -> bool:
    """Whether this is Linux on a processor that filters are made for, in a process of its full width."""
    return sys.platform == "linux" and sys.maxsize > 2**32 and (machine or platform.machine()) in MACHINES


def network_filter(machine: str | None = None) -> bytes:
    """Refuses sockets with EPERM, and the ways to take one from another process. `machine` as `uname -m` says it."""
    machine = machine or platform.machine()
    return assembled(MACHINES[machine], _refusals(NETWORK, machine))


def sandbox_filter(machine: str | None = None) -> bytes:
    """The sandbox's filter, for bwrap's `--seccomp`: no way into other processes, mounts, namespaces or the kernel.

    Sockets are of the local families only. `clone3` does not exist, so that libc takes `clone`, whose flags a filter
    can see.
    """
    machine = machine or platform.machine()
    rules = [
        *_refusals(SANDBOX, machine),
        _rule("clone3", machine, [refuse(_ENOSYS)]),
        _rule("clone", machine, [*argument_sets(0, _NEW_NAMESPACES, refuse(errno.EPERM)), ALLOW]),
        _rule("socket", machine, [*argument_is_none_of(0, _FAMILIES, refuse(_EAFNOSUPPORT)), ALLOW]),
        number_is(_IOCTL[machine], [*argument_is(1, _TERMINAL_INPUT, refuse(errno.EPERM)), ALLOW]),
    ]
    return assembled(MACHINES[machine], rules)


def _refusals(names: Sequence[str], machine: str) -> list[Instructions]:
    return [_rule(name, machine, [refuse(errno.EPERM)]) for name in names]


def _rule(name: str, machine: str, then: Instructions) -> Instructions:
    number = NUMBERS[name][list(MACHINES).index(machine)]
    return () if number is None else number_is(number, then)
