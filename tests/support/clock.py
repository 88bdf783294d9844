"""A clock that stands still until a test moves it, for servers that are started while it is set."""

import contextlib
from collections.abc import Iterator

import pytest

from understudy import entropy
from understudy.store.postgres import PostgresStore

__all__ = ["Clock", "clock_set"]

START = 1_760_000_000


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return float(self.now)

    def advance(self, seconds: int) -> None:
        self.now += seconds


@contextlib.contextmanager
def clock_set() -> Iterator[Clock]:
    """Servers started inside read this clock, however long they live, and no database's."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "now", clock)
        patch.setattr(PostgresStore, "keeps_time", False)
        yield clock
