"""The code interpreter: how long code waits, and what a session that waits for code costs."""

import asyncio
import os
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from bench.table import Row, median, row, shown
from understudy.ports import CodePicture, CodeValue, SandboxSession, SandboxUnavailable
from understudy.sandbox import tree
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.opening import PRELOADED, environment_in

__all__ = ["code"]

_ROOT: Final = Path(__file__).parents[1]
_WARM_CALLS: Final = 50
_WARM_SECONDS: Final = 60.0
_PLOT: Final = "import matplotlib.pyplot as plt; plt.plot([1, 2, 4]); plt.show()"


def code(directory: Path, sessions: int) -> list[Row]:
    """Lines about so many sessions, one after another; one line where this machine has no sandbox to measure."""
    environment = _environment()
    if environment is None:
        return [Row(what="code interpreter: left out, neither `make sandbox` nor `make run` has made its environment")]
    try:
        return asyncio.run(_measured(environment, directory / "sandboxes", sessions))
    except SandboxUnavailable as reason:
        return [Row(what=f"code interpreter: left out: {reason}")]


def _environment() -> Path | None:
    # The tests' own first: it is the smallest one.
    places = (_ROOT / ".envs" / "sandbox", environment_in(_ROOT / "data" / "sandbox"))
    return next((place for place in places if (place / "pyvenv.cfg").is_file()), None)


async def _measured(environment: Path, folder: Path, sessions: int) -> list[Row]:
    async with AsyncExitStack() as opened:
        bare = LocalSandboxes(environment=environment, folder=folder, warm=0, sessions_max=1)
        opened.push_async_callback(bare.close)
        await bare.check()
        cold, warm, memory = await _calls(bare, sessions)
        pool = LocalSandboxes(environment=environment, folder=folder, warm=1, sessions_max=2, preload=PRELOADED)
        opened.push_async_callback(pool.close)
        plots = [await _first_plot(pool) for _ in range(sessions)]
    python = environment / "bin" / "python"
    started = median([_seconds(python, "1 + 1") for _ in range(sessions)])
    plotted = median([_seconds(python, f"import matplotlib; matplotlib.use('agg'); {_PLOT}") for _ in range(sessions)])
    of = f"{sessions} sessions"
    start, plot = f"{shown(started * 1000)} ms (python -c '1 + 1')", f"{shown(plotted * 1000)} ms (python -c, the same)"
    return [
        row(f"a new session answers 1 + 1, median of {of}", median(cold) * 1000, " ms", at_most=400, proxy=start),
        row("a session that is there answers 1 + 1, p50", median(warm) * 1000, " ms", at_most=5, proxy=start),
        row("memory of a session that waits, nothing loaded (PSS)", median(memory) / 1e6, " MB", at_most=30),
        row(
            f"first figure of a session that was ready, median of {of}",
            median(plots) * 1000,
            " ms",
            at_most=300,
            proxy=plot,
        ),
    ]


async def _calls(sandboxes: LocalSandboxes, sessions: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of first calls with the session's start, seconds of further ones, and bytes of a session."""
    cold, warm, memory = [], [], []
    others = {member.pid for member in tree.below(os.getpid())}  # the servers of other lines
    for number in range(sessions):
        began = time.perf_counter()
        async with sandboxes.open(f"{number}") as session:
            await _answer(session, "1 + 1")
            cold.append(time.perf_counter() - began)
            for _ in range(_WARM_CALLS):
                began = time.perf_counter()
                await _answer(session, "1 + 1")
                warm.append(time.perf_counter() - began)
            memory.append(float(_memory_bytes(others)))
            await session.end()
    return cold, warm, memory


def _memory_bytes(others: Collection[int]) -> int:
    """Of bubblewrap's own and the Python inside, pages that they share with others by their share (PSS)."""
    mine = [member for member in tree.below(os.getpid()) if member.pid not in {os.getpid(), *others}]
    return tree.memory_bytes(mine, 0)


async def _first_plot(sandboxes: LocalSandboxes) -> float:
    # Taking one has the next made: an odd session is thrown away so that the measured one was ready.
    async with sandboxes.open("odd") as session:
        await session.end()
    async with asyncio.timeout(_WARM_SECONDS):
        while not sandboxes.ready:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    began = time.perf_counter()
    async with sandboxes.open("plot") as session:
        events = [event async for event in session.execute(_PLOT)]
        assert any(isinstance(event, CodePicture) for event in events), events
        took = time.perf_counter() - began
        await session.end()
    return took


async def _answer(session: SandboxSession, source: str) -> None:
    events: Sequence[object] = [event async for event in session.execute(source)]
    assert events[0] == CodeValue("2"), events


def _seconds(python: Path, source: str) -> float:
    began = time.perf_counter()
    subprocess.run([python, "-I", "-c", source], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began
