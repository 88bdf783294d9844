"""The kernel's reading of a seccomp filter, so that a filter for any processor can be tried on this one."""

import struct
from collections.abc import Sequence

__all__ = ["ALLOWED", "KILLED", "verdict"]

ALLOWED = "allowed"
KILLED = "killed"

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def verdict(filter_: bytes, arch: int, number: int, arguments: Sequence[int] = ()) -> int | str:
    """The errno that a call is refused with, or `ALLOWED`, or `KILLED`."""
    call = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *([0] * (6 - len(arguments))))
    instructions = list(struct.iter_unpack("<HBBI", filter_))
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, k = instructions[at]
        at += 1
        if code == _LOAD:
            (loaded,) = struct.unpack_from("<I", call, k)
        elif code == _RETURN:
            return _meaning(k)
        else:
            held = {_EQUAL: loaded == k, _AT_LEAST: loaded >= k, _ANY_BIT: bool(loaded & k)}[code]
            at += if_true if held else if_false


def _meaning(returned: int) -> int | str:
    if returned == 0x7FFF0000:
        return ALLOWED
    return KILLED if returned == 0x80000000 else returned & 0xFFFF
