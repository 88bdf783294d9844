"""The two things that the core must be handed: the time, and ids that nobody can guess."""

import os
import time

from understudy.core.ids import PREFIXES, Kind

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 24


def now() -> float:
    """Unix seconds."""
    return time.time()


def new_id(kind: Kind) -> str:
    """The kind's prefix and 24 characters of [A-Za-z0-9], about 143 bits of entropy; 32 hex digits for requests."""
    if kind == "request":
        return PREFIXES[kind] + os.urandom(16).hex()
    number = int.from_bytes(os.urandom(_LENGTH))
    letters = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return PREFIXES[kind] + "".join(letters)
