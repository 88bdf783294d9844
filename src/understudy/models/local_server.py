"""The local model's process, as its parent sees it: started when needed, again after it died, and ended for sure."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from understudy.core.limits import LOCAL_START_SECONDS, LOCAL_STOP_SECONDS, LOCAL_THREADS_MAX
from understudy.models.local_child import Failed, Order, Ready
from understudy.ports import ModelError
from understudy.weights import WeightsUnavailable

__all__ = ["COMMAND", "Address", "LocalServer", "LocalUnavailable"]

log = structlog.get_logger(__name__)

# -P: a folder named like one of our modules where the server is started must not stand in for it.
COMMAND: Final = (sys.executable, "-P", "-m", "understudy.models.local_child")
_LOG_LINES_KEPT: Final = 20
_CLOSED: Final = "The server is shutting down."


class LocalUnavailable(ModelError):
    """There is no local model on this machine. The text says what to set instead."""


class Address(Struct, frozen=True):
    base_url: str
    key: str


class _Child(Struct, frozen=True, eq=False):
    process: asyncio.subprocess.Process
    log_lines: deque[str]
    log_reader: "asyncio.Task[None]"
    address: Address


class LocalServer:
    """At most one child. `gguf` gives the weights' path and may block; it is asked at every start."""

    def __init__(
        self,
        *,
        gguf: Callable[[], Path],
        model: str,
        slots: int,
        slot_tokens: int,
        command: Sequence[str] = COMMAND,
        start_seconds: float = LOCAL_START_SECONDS,
        stop_seconds: float = LOCAL_STOP_SECONDS,
    ) -> None:
        self._gguf = gguf
        self._model = model
        self._slots = slots
        self._slot_tokens = slot_tokens
        self._command = command
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._child: asyncio.Task[_Child] | None = None
        self._closed = False

    async def address(self) -> Address:
        """Where the child listens, which is started unless it runs. Raises `ModelError`, `LocalUnavailable`."""
        if self._closed:
            raise ModelError(_CLOSED)
        if self._child is None or _is_over(self._child):
            self._child = asyncio.create_task(self._start())
            self._child.add_done_callback(_take_exception)
        child = self._child
        # Not awaited itself: a caller that gives up must not take the start away from the others.
        await asyncio.wait([child])
        if child.cancelled():
            raise ModelError(_CLOSED)
        return child.result().address

    async def close(self) -> None:
        """Ends the child, gently for `stop_seconds` and then by its id."""
        self._closed = True
        if self._child is None:
            return
        self._child.cancel()
        await asyncio.wait([self._child])
        if not self._child.cancelled() and self._child.exception() is None:
            child = self._child.result()
            await self._end(child.process, child.log_reader)

    async def _start(self) -> _Child:
        began = time.monotonic()
        try:
            gguf = await asyncio.to_thread(self._gguf)
        except WeightsUnavailable as error:
            raise LocalUnavailable(str(error)) from error
        order = Order(
            gguf=str(gguf),
            key=secrets.token_hex(32),
            model=self._model,
            slots=self._slots,
            slot_tokens=self._slot_tokens,
            threads=_threads(),
        )
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=pipe)
        log_lines: deque[str] = deque(maxlen=_LOG_LINES_KEPT)
        log_reader = asyncio.create_task(_keep_last_lines(process, log_lines))
        try:
            base_url = await self._introduce(process, order)
        except BaseException:
            await self._end(process, log_reader)
            log.warning("local_model_not_started", exit=process.returncode, stderr=list(log_lines))
            raise
        log.info("local_model_started", pid=process.pid, seconds=round(time.monotonic() - began, 2))
        return _Child(process, log_lines, log_reader, Address(base_url, order.key))

    async def _introduce(self, process: asyncio.subprocess.Process, order: Order) -> str:
        """The child's base URL, once it serves."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._start_seconds):
                process.stdin.write(msgspec.json.encode(order) + b"\n")
                line = await process.stdout.readline()
                if not line:
                    raise ModelError(f"The local model could not start: its process {_ending(await process.wait())}.")
        except TimeoutError as error:
            raise ModelError(f"The local model did not start within {self._start_seconds:g} seconds.") from error
        answer = msgspec.json.decode(line, type=Ready | Failed)
        if isinstance(answer, Ready):
            return answer.base_url
        if answer.missing:
            raise LocalUnavailable(
                f"There is no local model here ({answer.reason}): install understudy[local], or set "
                "UNDERSTUDY_UPSTREAM_BASE_URL and UNDERSTUDY_UPSTREAM_API_KEY to use a model server."
            )
        raise ModelError(f"The local model could not start: {answer.reason}")

    async def _end(self, process: asyncio.subprocess.Process, log_reader: "asyncio.Task[None]") -> None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(self._stop_seconds):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await log_reader


def _threads() -> int:
    """One core fewer than there are: threads that wait for a core make all others spin, and 120 tokens/s become 4."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(LOCAL_THREADS_MAX, cores - 1))


def _is_over(starting: "asyncio.Task[_Child]") -> bool:
    """True when the start failed, or when the child that it made is no more."""
    if not starting.done():
        return False
    if starting.cancelled() or starting.exception() is not None:
        return True
    child = starting.result()
    if child.process.returncode is None:
        return False
    log.warning("local_model_died", exit=child.process.returncode, stderr=list(child.log_lines))
    return True


def _take_exception(starting: "asyncio.Task[_Child]") -> None:
    """Whoever waited has it; when all of them gave up, asyncio need not complain."""
    if not starting.cancelled():
        starting.exception()


async def _keep_last_lines(process: asyncio.subprocess.Process, lines: deque[str]) -> None:
    assert process.stderr is not None
    while block := await process.stderr.read(8192):
        lines.extend(block.decode(errors="replace").splitlines())


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    return f"was ended by {signal.Signals(-returncode).name}"
