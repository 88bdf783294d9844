"""Classic BPF, as far as seccomp filters need it. A filter is the bytes of the kernel's `struct sock_filter[]`."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "ALLOW",
    "Machine",
    "argument_is",
    "argument_is_none_of",
    "argument_sets",
    "assembled",
    "number_is",
    "refuse",
]

Instructions: TypeAlias = Sequence[bytes]

_LOAD: Final = 0x20  # LD | W | ABS
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_IF_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

# Offsets in `struct seccomp_data`. Arguments are 64 bits wide; both machines are little-endian.
_NUMBER: Final = 0
_ARCH: Final = 4
_ARGUMENTS: Final = 16

_RETURN_ALLOW: Final = 0x7FFF0000
_RETURN_ERRNO: Final = 0x00050000
_RETURN_KILL_PROCESS: Final = 0x80000000
_X32_BIT: Final = 0x40000000
_ENOSYS: Final = 38


@dataclass(frozen=True)
class Machine:
    """`arch` is the kernel's AUDIT_ARCH. `x32`: the same arch has a second table of calls, told apart by a bit."""

    arch: int
    x32: bool


def _instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, k)


ALLOW: Final = _instruction(_RETURN, _RETURN_ALLOW)


def refuse(errno: int) -> bytes:
    return _instruction(_RETURN, _RETURN_ERRNO | errno)


def number_is(number: int, then: Instructions) -> Instructions:
    """`then` has to end with a return. Expects the call's number loaded, and leaves it so where it is another."""
    return [_instruction(_IF_EQUAL, number, 0, len(then)), *then]


def argument_is(index: int, values: Sequence[int], then: bytes) -> Instructions:
    return [_load_argument(index), *(line for value in values for line in (_instruction(_IF_EQUAL, value, 0, 1), then))]


def argument_is_none_of(index: int, values: Sequence[int], then: bytes) -> Instructions:
    left = len(values)
    return [
        _load_argument(index),
        *(_instruction(_IF_EQUAL, value, left - at, 0) for at, value in enumerate(values)),
        then,
    ]


def argument_sets(index: int, bits: int, then: bytes) -> Instructions:
    return [_load_argument(index), _instruction(_IF_ANY_BIT, bits, 0, 1), then]


def assembled(machine: Machine, rules: Sequence[Instructions]) -> bytes:
    """A filter that allows what no rule refuses. Code for another processor's table of calls is killed."""
    start = [
        _instruction(_LOAD, _ARCH),
        _instruction(_IF_EQUAL, machine.arch, 1, 0),
        _instruction(_RETURN, _RETURN_KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
    ]
    if machine.x32:
        start += [_instruction(_IF_AT_LEAST, _X32_BIT, 0, 1), refuse(_ENOSYS)]
    return b"".join([*start, *(line for rule in rules for line in rule), ALLOW])


def _load_argument(index: int) -> bytes:
    return _instruction(_LOAD, _ARGUMENTS + 8 * index)
