"""The two things that the core must be handed: the time, and ids that nobody can guess."""

import os
import time
from binascii import b2a_base64

from understudy.core.ids import PREFIXES, Kind

_LENGTH = 24


def now() -> float:
    """Unix seconds."""
    return time.time()


def new_id(kind: Kind) -> str:
    """The kind's prefix and 24 characters of [A-Za-z0-9], about 143 bits of entropy.

    Requests and file batches have 32 hexadecimal digits instead.
    """
    if kind in ("request", "file batch"):
        return PREFIXES[kind] + os.urandom(16).hex()
    # 32 random ones of 64 letters, without the two that an id may not have: nearly always enough at once.
    letters = b2a_base64(os.urandom(24), newline=False).translate(None, b"+/")
    while len(letters) < _LENGTH:
        letters += b2a_base64(os.urandom(24), newline=False).translate(None, b"+/")
    return PREFIXES[kind] + letters[:_LENGTH].decode()
