"""What an operation is: SQL and decisions without an engine.

An operation is a generator that yields queries and is sent their rows. It returns its result or raises a
`StoreRefusal`. An engine runs it inside one transaction, which it rolls back when the operation raises. Whatever an
operation does happens between two queries, so it may be thrown away and begun again at any moment.

The SQL is what SQLite 3.40 and PostgreSQL both take, with `?` for parameters.
"""

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

T = TypeVar("T")

# What a row holds is said by the SQL alone: no type checker can know it.
Row: TypeAlias = Sequence[Any]


class Query(Struct, frozen=True):
    """One statement. `locks`: nobody else may change the rows read before this transaction ends.

    An engine that lets writers run side by side makes that a `FOR UPDATE`; SQLite has one writer and need not.
    `unread`: nobody looks at its rows, and it is answered with none. An engine that is a round trip away may do it
    later, in one go with others; before whatever names one of its tables, and within the same transaction.
    `single`: it has at most one row, so that the rows of several alike can be told apart.
    """

    sql: str
    params: tuple[object, ...] = ()
    locks: bool = False
    unread: bool = False
    single: bool = False


Op: TypeAlias = Generator[Query, Sequence[Row], T]

SEQ_MAX = 2**63 - 1
BATCH_ROWS_MAX = 256


def all_rows(sql: str, *params: object) -> Op[list[Row]]:
    """Every row of a query that ends in `seq > ? ORDER BY seq LIMIT ?` and selects `seq` first, read in batches."""
    found: list[Row] = []
    after_seq = 0
    while True:
        rows = yield Query(sql, (*params, after_seq, BATCH_ROWS_MAX))
        found.extend(rows)
        if len(rows) < BATCH_ROWS_MAX:
            return found
        after_seq = rows[-1][0]
