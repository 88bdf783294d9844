"""Rows of a table summed up, so that two databases of different engines can be compared."""

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from understudy.store.operations import Row

_SUM_BYTES = 16


class Tally(Struct, frozen=True):
    """How many rows there are, and the sum of their digests, which asks for no order. Two tables are alike if they are.

    A digest is of a row's values as any engine gives them: text is compared without NUL, which PostgreSQL cannot keep.
    """

    rows: int = 0
    sum: str = "0"  # in hexadecimal digits: longer than what JSON holds as a number

    def plus(self, rows: Iterable[Row]) -> "Tally":
        total, count = int(self.sum, 16), self.rows
        for row in rows:
            total += _digest(row)
            count += 1
        return _tally(count, total)

    def minus(self, other: "Tally") -> "Tally":
        return _tally(self.rows - other.rows, int(self.sum, 16) - int(other.sum, 16))


def _tally(rows: int, total: int) -> Tally:
    return Tally(rows, f"{total % 256**_SUM_BYTES:x}")


def _digest(row: Row) -> int:
    values = [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row]
    digest = hashlib.blake2b(msgspec.msgpack.encode(values), digest_size=_SUM_BYTES)
    return int.from_bytes(digest.digest())
