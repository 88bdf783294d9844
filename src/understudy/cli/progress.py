"""How far a long command has come: a bar on a terminal, and a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from understudy.cli.terminal import note

__all__ = ["Tell", "open_progress"]

# What is done, how much of it is done, and of how much; 0: nobody knows.
Tell: TypeAlias = Callable[[str, int, int], None]

LINE_SECONDS: Final = 5.0


@contextmanager
def open_progress(*, line_seconds: float = LINE_SECONDS) -> Iterator[Tell]:
    """What is to be told as often as one likes. What is said goes to stderr; a line every `line_seconds` at most."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(line_seconds).tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        last = ""

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last
            if what != last:
                progress.reset(task)
            last = what
            progress.update(task, description=what, completed=done, total=total or None)

        yield tell


class _Lines:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def tell(self, what: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._seconds
            note(f"{what}: {done:,} of {total:,}" if total else f"{what}: {done:,}")
