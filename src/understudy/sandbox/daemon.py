"""Sandboxes for servers on other machines, over HTTP. A session is held as long as the answer that gave it is open.

It knows nothing of what the code is for, and has no database. docs/sandbox-protocol.md is its reference.
"""

import asyncio
import hashlib
import hmac
import secrets
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from understudy.core.limits import (
    SANDBOX_DISK_BYTES,
    SANDBOX_HOLDS_MAX,
    SANDBOX_PING_SECONDS,
    SANDBOX_REQUEST_BYTES_MAX,
    SANDBOX_SILENCE_SECONDS,
)
from understudy.ports import SandboxBusy, Sandboxes, SandboxRefusal, SandboxSession, SandboxUnavailable
from understudy.sandbox.protocol import PING, Execution, Held, Listing, Refused, Stored, Wanted, line

__all__ = ["Daemon"]

log = structlog.get_logger(__name__)

T = TypeVar("T")
B = TypeVar("B", bound=Struct)

_NDJSON: Final = "application/x-ndjson"


class Daemon:
    """An ASGI application over these sandboxes. `folder` is where files wait until they are whole."""

    def __init__(self, sandboxes: Sandboxes, key: str, folder: Path, *, holds_max: int = SANDBOX_HOLDS_MAX) -> None:
        self._sandboxes = sandboxes
        self._digest = _digest(f"Bearer {key}")
        self._folder = folder
        self._holds_left = holds_max
        self._leases: dict[str, _Lease] = {}
        lease = "/v1/leases/{lease}"
        self._router = Router(
            [
                Route("/healthz", _health, methods=["GET"]),
                Route("/v1/check", self._check, methods=["POST"]),
                Route("/v1/leases", self._hold, methods=["POST"]),
                Route(lease, self._end, methods=["DELETE"]),
                Route(f"{lease}/execute", self._execute, methods=["POST"]),
                Route(f"{lease}/interrupt", self._interrupt, methods=["POST"]),
                Route(f"{lease}/changes", self._changes, methods=["POST"]),
                Route(f"{lease}/files", self._files, methods=["GET"]),
                Route(f"{lease}/file", self._put, methods=["PUT"]),
                Route(f"{lease}/file", self._get, methods=["GET"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != "/healthz" and not self._is_known(scope):
            await _Error(401, "unauthorized", "The key is missing or wrong.").response(scope, receive, send)
            return
        try:
            await self._router(scope, receive, send)
        except _Error as error:
            await error.response(scope, receive, send)
        except ClientDisconnect:
            pass

    def _is_known(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(_digest(given.decode("latin-1")), self._digest)

    async def _check(self, request: Request) -> Response:  # noqa: ARG002 - there is nothing to say
        try:
            await self._sandboxes.check()
        except SandboxUnavailable as error:
            return _Error(503, "unavailable", str(error)).response
        except SandboxBusy as error:
            return _Error(503, "busy", str(error)).response
        return _json({"works": True})

    async def _hold(self, request: Request) -> Response:
        wanted = await _body(request, Wanted)
        if self._holds_left <= 0:
            raise _Error(503, "busy", "Too many sessions of the code interpreter are asked for: try again later.")
        return _Lines(self._held(wanted))

    async def _held(self, wanted: Wanted) -> AsyncGenerator[bytes]:
        self._holds_left -= 1
        try:
            while True:
                async with self._sandboxes.open(wanted.key) as session:
                    if wanted.fresh and session.state != "fresh":
                        await session.end()
                        continue
                    async with self._leased(session) as lease:
                        yield line(Held(lease, session.state))
                        await asyncio.Event().wait()  # until the connection is closed, and this is cancelled
        except SandboxUnavailable as error:
            yield line(Refused("unavailable", str(error)))
        except SandboxBusy as error:
            yield line(Refused("busy", str(error)))
        finally:
            self._holds_left += 1

    @asynccontextmanager
    async def _leased(self, session: SandboxSession) -> AsyncIterator[str]:
        name = secrets.token_urlsafe(24)
        lease = self._leases[name] = _Lease(session)
        try:
            yield name
        finally:
            del self._leases[name]
            await lease.give_up()

    def _lease(self, request: Request) -> "_Lease":
        lease = self._leases.get(request.path_params["lease"])
        if lease is None:
            raise _Error(404, "not_found", "There is no such lease, or no more.")
        return lease

    async def _end(self, request: Request) -> Response:
        lease = self._lease(request)
        await lease.use(lease.session.end)
        return Response(status_code=204)

    async def _execute(self, request: Request) -> Response:
        lease = self._lease(request)
        return _Lines(_events(lease, await _body(request, Execution)), lease)

    async def _interrupt(self, request: Request) -> Response:
        await self._lease(request).session.interrupt()
        return Response(status_code=204)

    async def _changes(self, request: Request) -> Response:
        lease = self._lease(request)
        return _json(await lease.use(lease.session.changes))

    async def _files(self, request: Request) -> Response:
        lease = self._lease(request)
        return _json(Listing(await lease.use(lease.session.files)))

    async def _put(self, request: Request) -> Response:
        lease = self._lease(request)
        name = _name(request)

        async def put() -> Stored:
            with tempfile.TemporaryFile(dir=self._folder) as content:
                async for block in _blocks(request, SANDBOX_DISK_BYTES):
                    await asyncio.to_thread(content.write, block)
                content.flush()
                return Stored(await lease.session.put(name, Path(f"/proc/self/fd/{content.fileno()}")))

        return _json(await lease.use(put))

    async def _get(self, request: Request) -> Response:
        lease = self._lease(request)
        blocks = lease.session.get(_name(request))
        try:
            # Before the head is sent: a refusal has a status of its own.
            first = await lease.use(lambda: anext(blocks, b""))
        except SandboxRefusal as error:
            return _Error(422, "refused", str(error)).response
        return _Lines(_joined(first, blocks), lease, media_type="application/octet-stream")


class _Lease:
    """A session that somebody holds. `over` is set once it is given up; `calls` lets one call's code run at a time."""

    def __init__(self, session: SandboxSession) -> None:
        self.session = session
        self.over = asyncio.Event()
        self.calls = asyncio.Lock()
        self._uses = 0
        self._unused = asyncio.Event()

    @contextmanager
    def used(self) -> Iterator[None]:
        """To be left as soon as `over` is set."""
        if self.over.is_set():
            raise _Error(404, "not_found", "The lease has ended.")
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            self._unused.set()

    async def use(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What it answers. Raises `_Error` when it refuses, or when the lease ends meanwhile."""
        found: list[T] = []

        async def asked() -> None:
            found.append(await ask())

        try:
            with self.used():
                await _until_one_ends(asked(), _ended(self.over))
        except SandboxRefusal as error:
            raise _Error(422, "refused", str(error)) from error
        if not found:
            raise _Error(404, "not_found", "The lease has ended.")
        return found[0]

    async def give_up(self) -> None:
        """Returns when nothing uses the session any more."""
        self.over.set()
        while self._uses:
            self._unused.clear()
            await self._unused.wait()


class _Lines(Response):
    """An answer in pieces. It ends early when its reader goes away or its lease ends, and so does what makes it."""

    def __init__(
        self, pieces: AsyncGenerator[bytes], lease: _Lease | None = None, *, media_type: str = _NDJSON
    ) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._pieces = pieces
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        ends = [_until_gone(receive)]
        if self._lease is not None:
            ends.append(_ended(self._lease.over))
        try:
            await _sent(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if self.media_type == _NDJSON:
                ends.append(_pinging(send))
            await _until_one_ends(self._send_pieces(send), *ends)
        except (OSError, TimeoutError) as error:
            log.info("sandbox_reader_gone", error=type(error).__name__)

    async def _send_pieces(self, send: Send) -> None:
        if self._lease is not None and self._lease.over.is_set():
            return
        with nullcontext() if self._lease is None else self._lease.used():
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    await _sent(send, {"type": "http.response.body", "body": piece, "more_body": True})
        await _sent(send, {"type": "http.response.body", "body": b"", "more_body": False})


class _Error(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.response = _json({"error": {"type": kind, "message": message}}, status)


async def _health(request: Request) -> Response:  # noqa: ARG001 - there is nothing to say
    return _json({"status": "ok"})


async def _events(lease: _Lease, execution: Execution) -> AsyncGenerator[bytes]:
    await lease.calls.acquire()
    events = lease.session.execute(execution.code, seconds=execution.seconds)
    try:
        async for event in events:
            yield line(event)
    except SandboxRefusal as error:
        yield line(Refused("refused", str(error)))
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()  # interrupts the code now, and not when somebody collects the garbage
        lease.calls.release()


async def _joined(first: bytes, blocks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for block in blocks:
        yield block


async def _pinging(send: Send) -> None:
    while True:
        await asyncio.sleep(SANDBOX_PING_SECONDS)
        await _sent(send, {"type": "http.response.body", "body": PING, "more_body": True})


async def _sent(send: Send, message: Message) -> None:
    # A reader that takes nothing would hold its session for good.
    async with asyncio.timeout(SANDBOX_SILENCE_SECONDS):
        await send(message)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(event: asyncio.Event) -> None:
    await event.wait()


async def _until_one_ends(*works: Coroutine[object, object, None]) -> None:
    """Runs them beside each other until one has ended; returns when the others have too. Raises what one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _body(request: Request, type_: type[B]) -> B:
    body = b"".join([block async for block in _blocks(request, SANDBOX_REQUEST_BYTES_MAX)])
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Error(400, "bad_request", f"The body is not what it must be: {error}.") from error


async def _blocks(request: Request, bytes_max: int) -> AsyncGenerator[bytes]:
    left = bytes_max
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(SANDBOX_SILENCE_SECONDS):
                block = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise _Error(408, "bad_request", "The body did not come.") from error
        left -= len(block)
        if left < 0:
            raise _Error(413, "bad_request", f"The body is longer than {bytes_max:,} bytes.")
        yield block


def _name(request: Request) -> str:
    name = request.query_params.get("name", "")
    if not name:
        raise _Error(400, "bad_request", "The parameter `name` is missing.")
    return name


def _json(said: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(said), status, media_type="application/json")


def _digest(text: str) -> bytes:
    # Of one length, so that not even that is told by how long a comparison takes.
    return hashlib.sha256(text.encode()).digest()
