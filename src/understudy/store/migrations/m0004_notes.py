"""Schema version 4: what only a run's model knows of the calls in a step, as JSON by call."""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def notes(d: Dialect) -> Sequence[str]:
    return [f"ALTER TABLE steps ADD COLUMN notes {d.bytes}"]
