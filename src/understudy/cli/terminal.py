"""What every command shares: how it ends early, and what it says on the way."""

import sys

__all__ = ["Stop", "note"]


class Stop(Exception):
    """The command cannot go on. Its text is one sentence for whoever typed it; the exit code is 1."""


def note(text: str) -> None:
    """Says something beside the output: on stderr, so that the output can be piped."""
    print(text, file=sys.stderr, flush=True)
