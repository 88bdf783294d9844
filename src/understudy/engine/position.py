"""A place in a run's stream, as its `id:` lines name it."""

import re
from typing import Final

from msgspec import Struct

_ID: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?\Z")


class Position(Struct, frozen=True, order=True, gc=False):
    """Behind the fact with this number, and behind that many of the deltas that follow it. Written `7`, or `7.3`."""

    seq: int = 0
    deltas: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.deltas}" if self.deltas else str(self.seq)

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """`None` for a text that no stream of ours has sent."""
        found = _ID.match(text)
        return None if found is None else cls(int(found[1]), int(found[2] or 0))
