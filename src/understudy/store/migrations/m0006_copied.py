"""Schema version 6: how far an unfinished `understudy db copy` into this database has come with each table."""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def copied(d: Dialect) -> Sequence[str]:
    return [f"CREATE TABLE copied (name TEXT PRIMARY KEY, progress {d.bytes} NOT NULL) {d.table_options}"]
