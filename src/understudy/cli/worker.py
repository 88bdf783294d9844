"""`understudy worker`: a process that works on runs and indexes files, and listens to nobody."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import structlog

from understudy.app import START_REFUSALS, Understudy, create_app
from understudy.cli.banner import worker_banner
from understudy.cli.serve import allow_open_files, spare_the_collector
from understudy.cli.terminal import Stop
from understudy.logs import configure
from understudy.setting_sources import Loaded

__all__ = ["work"]

log = structlog.get_logger()

# What cannot be handed on by then, for the database is away, say, is taken over when its lease has run out.
STOP_SECONDS: Final = 4.0


def work(loaded: Loaded) -> None:
    """Returns when it was stopped by Ctrl-C or SIGTERM. Raises `Stop`, `SettingError` when it cannot start."""
    settings = loaded.settings
    if not settings.worker:
        source = loaded.sources["worker"]
        raise Stop(f"A worker that may not work is of no use: take back 'worker', which {source} says is false.")
    configure(settings.log_level, settings.log_format)
    allow_open_files()
    asyncio.run(_work(create_app(settings), worker_banner(loaded)))


async def _work(app: Understudy, text: str) -> None:
    """Raises `Stop` when it cannot start."""
    stopping = asyncio.Event()
    with _signals(stopping.set):
        try:
            await app.start()
        except START_REFUSALS as refusal:
            await app.stop()
            raise Stop(f"The worker cannot start: {refusal}") from refusal
        spare_the_collector()
        print(text, flush=True)
        await stopping.wait()
        await _end(app)


async def _end(app: Understudy) -> None:
    ending = asyncio.ensure_future(app.stop())
    done, _ = await asyncio.wait([ending], timeout=STOP_SECONDS)
    if not done:
        log.warning("worker_left_its_runs_to_their_leases", seconds=STOP_SECONDS)
        sys.stdout.flush()
        os._exit(1)  # nothing that still waits is waited for
    await ending


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` on the loop at Ctrl-C and at a service manager's SIGTERM."""
    loop = asyncio.get_running_loop()

    def heard(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
