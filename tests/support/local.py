"""Setting up `local_child`, the scripted process, and reading what it noted."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio

CHILD = (sys.executable, str(Path(__file__).with_name("local_child.py")))
ENOUGH_SECONDS = 10.0


def scripted(folder: Path, *, start: str = "serve", answer: Sequence[str] = ("Hello",)) -> Path:
    """A "GGUF file" that tells the process how to start and what to answer."""
    gguf = folder / "model.gguf"
    gguf.write_text(json.dumps({"start": start, "answer": answer}))
    return gguf


def starts(gguf: Path) -> list[dict[str, Any]]:
    """Of each start so far: the process's id, its arguments and its order."""
    return _noted(gguf, ".starts")


def requests(gguf: Path) -> list[dict[str, Any]]:
    return _noted(gguf, ".requests")


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(ENOUGH_SECONDS):
        while not condition():  # noqa: ASYNC110 - it becomes true in another process, which sets no event here
            await anyio.sleep(0.01)


def _noted(gguf: Path, suffix: str) -> list[dict[str, Any]]:
    notes = gguf.with_name(gguf.name + suffix)
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
