"""The `understudy` command as a process of its own."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

COMMAND = (sys.executable, "-m", "understudy.cli.main")
SRC = Path(__file__).parents[2] / "src"
SECONDS = 20.0


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the developer's own settings, and a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    return kept | {"HOME": str(home), "PYTHONPATH": str(SRC), "PYTHONWARNINGS": "error", "COLUMNS": "120", **more}


@asynccontextmanager
async def started(*arguments: str, home: Path, stdin: int = DEVNULL, **env: str) -> AsyncIterator[Process]:
    """The process, in `home`; it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=home, env=environment(home, **env), stdin=stdin, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        # Reads what is left too, so that no pipe stays open.
        await process.communicate()


async def run(*arguments: str, home: Path, text: str | None = None, **env: str) -> Ended:
    """Runs it to its end, with `text` piped in."""
    async with started(*arguments, home=home, stdin=DEVNULL if text is None else PIPE, **env) as process:
        out, err = await asyncio.wait_for(process.communicate(None if text is None else text.encode()), SECONDS)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


async def read_until(stream: asyncio.StreamReader | None, part: str) -> str:
    """What the process wrote, up to and with `part`."""
    assert stream is not None
    return (await asyncio.wait_for(stream.readuntil(part.encode()), SECONDS)).decode()
