"""The reading children as their parent sees them: started when needed, one file at a time, never trusted."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec
import structlog

import understudy
from understudy.core.limits import (
    CHUNK_BATCH_BYTES,
    CHUNK_FRAME_BYTES_MAX,
    DOCUMENT_CPU_SECONDS,
    DOCUMENT_IDLE_SECONDS,
    DOCUMENT_MEMORY_BYTES,
    DOCUMENT_SECONDS,
    DOCUMENT_TEXT_BYTES_MAX,
    REFUSAL_LENGTH_MAX,
)
from understudy.documents.check import Expected
from understudy.documents.messages import (
    HEAD_BYTES,
    Answer,
    Finished,
    Limits,
    Malformed,
    Order,
    Read,
    Refused,
    body_bytes,
    frame,
)
from understudy.ports import Chunk, DocumentRefused
from understudy.wire.tools import StaticChunkingOptions

__all__ = ["COMMAND", "LIMITS", "ChildDocuments"]

log = structlog.get_logger(__name__)

# -P and -s: neither the working directory nor the user's own packages can stand in for a module.
COMMAND: Final = (sys.executable, "-P", "-s", "-m", "understudy.documents.child")
LIMITS: Final = Limits(
    memory_bytes=DOCUMENT_MEMORY_BYTES, cpu_seconds=DOCUMENT_CPU_SECONDS, text_bytes=DOCUMENT_TEXT_BYTES_MAX
)
_ANSWERS: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Read | Finished | Refused)
_REUSED: Final = sys.platform == "linux"  # elsewhere a child cannot fork, and ends with its file
_BUFFER_BYTES: Final = CHUNK_BATCH_BYTES  # of answers that wait, so that a child need not
_WRONG: Final = "The file could not be parsed: something went wrong in the server."
# What ends a process from outside: not for anything that it did.
_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class _Gone(Exception):
    """The child ended before it said so."""


class _Stale(Exception):
    """The child may have ended before it was given the file: another one is to have it."""


class ChildDocuments:
    """Implements `ports.Documents`. At most `places` children, each ended after `idle_seconds` without a file.

    `weights` is the directory of the built-in embedding. Belongs to one event loop.
    """

    def __init__(
        self,
        *,
        places: int,
        weights: Path,
        limits: Limits = LIMITS,
        seconds: float = DOCUMENT_SECONDS,
        idle_seconds: float = DOCUMENT_IDLE_SECONDS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._weights = weights
        self._limits = limits
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._command = command
        self._places = asyncio.Semaphore(places)
        self._idle: dict[asyncio.subprocess.Process, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def chunks(
        self, path: Path, file_name: str, mime_type: str, chunking: StaticChunkingOptions, *, embed: bool
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """The child of a file that is not read to its end is killed."""
        order = self._order(path, file_name, mime_type, chunking, embed=embed)
        while True:
            try:
                async with aclosing(self._chunks(order)) as batches:
                    async for batch in batches:
                        yield batch
            except _Stale:
                continue
            return

    async def close(self) -> None:
        """Ends the children that have nothing to do; the others end with their iterators."""
        self._closed = True
        for child, timer in self._idle.items():
            timer.cancel()
            self._ended(child)
        self._idle.clear()
        await asyncio.gather(*self._ending)

    def _order(
        self, path: Path, file_name: str, mime_type: str, chunking: StaticChunkingOptions, *, embed: bool
    ) -> Order:
        return Order(
            path=str(path.absolute()),
            file_name=file_name,
            mime_type=mime_type,
            chunking=chunking,
            weights=str(self._weights.absolute()) if embed else None,
            limits=self._limits,
        )

    async def _chunks(self, order: Order) -> AsyncGenerator[Sequence[Chunk], None]:
        """Raises `_Stale`: the child had ended before it was asked."""
        async with self._places:
            child, used = await self._take()
            whole = False
            try:
                expected = Expected(order.chunking, text_bytes=order.limits.text_bytes, embed=order.weights is not None)
                async for answer in self._answers(child, order, used=used):
                    match answer:
                        case Read(chunks):
                            expected.take(chunks)
                            yield chunks
                        case Finished(count):
                            expected.finish(count)
                        case Refused(code, message, detail):
                            if detail:
                                log.warning("document_not_parsed", detail=detail[:REFUSAL_LENGTH_MAX])
                            refused = DocumentRefused(code, expected.sentence(message))
                            whole = True
                            raise refused
                whole = True
            except Malformed as error:
                log.exception("document_child_malformed")
                raise DocumentRefused("server_error", _WRONG) from error
            finally:
                await self._give_back(child, whole=whole)

    # --- children

    async def _take(self) -> tuple[asyncio.subprocess.Process, bool]:
        """A child, and whether it had files before."""
        if self._idle:
            child, timer = self._idle.popitem()
            timer.cancel()
            return child, True
        pipe = asyncio.subprocess.PIPE
        made = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            limit=_BUFFER_BYTES,
        )
        return made, False

    async def _give_back(self, child: asyncio.subprocess.Process, *, whole: bool) -> None:
        if not whole or self._closed or not _REUSED or child.returncode is not None:
            await asyncio.shield(self._ended(child))
            return
        self._idle[child] = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire, child)

    def _retire(self, child: asyncio.subprocess.Process) -> None:
        if self._idle.pop(child, None) is not None:
            self._ended(child)

    def _ended(self, child: asyncio.subprocess.Process) -> "asyncio.Task[None]":
        task = asyncio.create_task(_end(child))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _answers(self, child: asyncio.subprocess.Process, order: Order, *, used: bool) -> AsyncIterator[Answer]:
        """Up to the last one. Only what the child takes counts against its time, not what is done with its answers."""
        left = self._seconds
        loop = asyncio.get_running_loop()
        first = True
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(left):
                    if first:
                        await _send(child, order)
                    answer = await _receive(child)
            except TimeoutError as error:
                seconds = f"{self._seconds:g} seconds"
                raise DocumentRefused("invalid_file", f"The file could not be parsed within {seconds}.") from error
            except _Gone as error:
                ended = await child.wait()
                if first and used and -ended in _OUTSIDE:
                    raise _Stale from error
                raise self._why(ended) from error
            first = False
            left -= loop.time() - began
            yield answer
            if not isinstance(answer, Read):
                return

    def _why(self, returncode: int) -> DocumentRefused:
        """What a child's end says of its file."""
        log.warning("document_child_died", exit=returncode)
        if returncode == -signal.SIGXCPU:
            seconds = f"{self._limits.cpu_seconds} seconds of computing"
            return DocumentRefused("invalid_file", f"The file could not be parsed within {seconds}.")
        if returncode < 0 and -returncode not in _OUTSIDE:
            # Most parsers have no other way to say that there is no more memory.
            return DocumentRefused(
                "invalid_file", "The file could not be parsed: it is damaged, or takes too much memory."
            )
        return DocumentRefused("server_error", _WRONG)


def _environment() -> dict[str, str]:
    """Nothing of the server's own, where keys may be. One thread for arithmetic: each reserves memory."""
    package = Path(understudy.__file__).parent.parent
    return {
        "PYTHONPATH": str(package),
        "LANG": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": str(min(4, os.cpu_count() or 1)),
    }


async def _send(child: asyncio.subprocess.Process, order: Order) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(frame(order))
        await child.stdin.drain()
    except ConnectionError as error:
        raise _Gone from error


async def _receive(child: asyncio.subprocess.Process) -> Answer:
    """Raises `Malformed`, `_Gone`."""
    assert child.stdout is not None
    try:
        head = await child.stdout.readexactly(HEAD_BYTES)
        body = await child.stdout.readexactly(body_bytes(head, CHUNK_FRAME_BYTES_MAX))
        return _ANSWERS.decode(body)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise _Gone from error
    except msgspec.MsgspecError as error:
        raise Malformed("no answer") from error


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kills the child and its fork, if they are still there."""
    if child.returncode is None:
        # It is the leader of its group, and not waited for yet: the number is still its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert child.stdin is not None
    child.stdin.close()
    await child.wait()
