"""Whole streams as text files: `tests/golden/NAME.txt`, written anew with `UPDATE_GOLDEN=1`.

Ids become `run_1`, `msg_2`, ... in the order in which they first appear, times become `TIME`; all else is as the wire
has it, the order of the keys too.
"""

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from support.client import Event

__all__ = ["Normaliser", "check_golden", "transcript"]

GOLDEN = Path(__file__).parent.parent / "golden"
UPDATE = "UPDATE_GOLDEN"

_ID = re.compile(
    r"(?<![A-Za-z0-9_])((?:asst|thread|run|msg|step|call|vs|upload|part)_|file-)[A-Za-z0-9]{24}(?![A-Za-z0-9])"
)
_TIME_KEY = re.compile(r"created|\w+_at")


class Normaliser:
    """Gives the same short name to the same id, over everything that it is shown."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def text(self, text: str) -> str:
        """The text with its ids renamed."""
        return _ID.sub(self._rename, text)

    def tree(self, tree: Any) -> Any:
        """A JSON value with its ids renamed and its times replaced; null times stay null."""
        match tree:
            case dict():
                return {self.text(key): self._value(key, value) for key, value in tree.items()}
            case list():
                return [self.tree(item) for item in tree]
            case str():
                return self.text(tree)
            case _:
                return tree

    def _value(self, key: str, value: Any) -> Any:
        if _TIME_KEY.fullmatch(key) and isinstance(value, int) and not isinstance(value, bool):
            return "TIME"
        return self.tree(value)

    def _rename(self, match: re.Match[str]) -> str:
        full, kind = match[0], match[1]
        if full not in self._names:
            self._counts[kind] += 1
            self._names[full] = f"{kind}{self._counts[kind]}"
        return self._names[full]


def transcript(events: Iterable[Event], normaliser: Normaliser | None = None) -> str:
    """One frame per paragraph, as on the wire. A normaliser that is passed again keeps the names of several streams."""
    names = normaliser or Normaliser()
    frames = []
    for event in events:
        shown = event.data if isinstance(event.data, str) else json.dumps(names.tree(event.data), ensure_ascii=False)
        frames.append(f"event: {event.name}\ndata: {shown}\n")
    return "\n".join(frames)


def check_golden(name: str, text: str, *, directory: Path = GOLDEN) -> None:
    """Fails with a diff unless the text is what the golden file says."""
    file = directory / f"{name}.txt"
    if os.environ.get(UPDATE) == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return
    if not file.exists():
        pytest.fail(f"there is no golden file {file.name}: run with {UPDATE}=1 and read what it writes")
    golden = file.read_text("utf-8")
    if text != golden:
        diff = difflib.unified_diff(golden.splitlines(), text.splitlines(), "golden", "now", lineterm="", n=1)
        pytest.fail(f"{file.name} differs; if the change is wanted, run with {UPDATE}=1\n" + "\n".join(diff))
