"""What engines call differently when tables are made. Queries and changes of rows need no dialect."""

from msgspec import Struct


class Dialect(Struct, frozen=True, kw_only=True):
    sequence: str  # the column type of a key that numbers rows upwards and never gives a number twice
    order: str  # the same, but the newest row's number may be given again when that row is gone
    integer: str  # 64 bits
    real: str  # 64 bits
    bytes: str
    table_options: str = ""
    key_table_options: str = ""  # of a table that has no more columns than its key
    builds_beside: bool = False  # whether indexes of tables with rows are built behind the steps, beside who writes
