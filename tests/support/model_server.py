"""A Chat Completions server on 127.0.0.1 that answers what a test has scripted, and records what it was asked.

    async with ScriptedModel() as model:
        model.script(Reply("Hel", "lo"), Failure(503), Reply(Call("call_1", "f", "{}")))
        ...  # a client talks to model.base_url
        assert model.requests[0].body["model"] == "gpt-4o"

Who decides on an answer, first match wins: rules (`model.rule(predicate, answer)`), the queue (`model.script(...)`),
directives in the last user message (`@say Hello`: all of them in `model_directives`), an echo of that message. The
parts of a reply, and what may go wrong in one, are the classes of `model_replies`.

In strict mode, the default, a request that strict servers refuse (`model_rules`) is answered 400 with the reasons, and
they are kept in `model.violations`; leaving the `async with` fails while there are any. A test that provokes one says
`model.violations.clear()`.

Also served: `GET /v1/models`, `POST /v1/embeddings` (texts that share words get near vectors), chat completions that
are not streamed, and `GET /__requests?contains=TEXT`, the recorded requests, for clients in other processes.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from anyio.from_thread import start_blocking_portal

from support.model_directives import directed
from support.model_replies import (
    CREATED,
    Answer,
    Call,
    Cut,
    ErrorChunk,
    Failure,
    Garbage,
    Interleaved,
    RawChunk,
    Refuse,
    Reply,
    Silence,
    Usage,
    completion,
    stream_acts,
)
from support.model_rules import faults

__all__ = [
    "Answer",
    "Call",
    "Cut",
    "ErrorChunk",
    "Failure",
    "Garbage",
    "Interleaved",
    "RawChunk",
    "Received",
    "Refuse",
    "Reply",
    "ScriptedModel",
    "Silence",
    "Usage",
    "model_in_thread",
]

DIMENSIONS = 64


@dataclass(frozen=True)
class Received:
    """One request: its path below `base_url`, its headers in lower case, its body as JSON."""

    path: str
    headers: dict[str, str]
    body: Any


class ScriptedModel:
    """The server; listens inside `async with`. `api_key`: refuse every other key with 401."""

    def __init__(
        self, *, strict: bool = True, models: Sequence[str] = ("scripted-1",), api_key: str | None = None
    ) -> None:
        self.strict = strict
        self.models = list(models)
        self.requests: list[Received] = []
        self.violations: list[str] = []
        self.disconnects = 0
        self.base_url = ""
        self._api_key = api_key
        self._queue: deque[Answer] = deque()
        self._rules: list[tuple[Callable[[Received], bool], Answer]] = []
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._answers = 0
        self._calls = 0

    def script(self, *answers: Answer) -> None:
        """Queues answers: each goes to one chat request, in order."""
        self._queue.extend(answers)

    def rule(self, predicate: Callable[[Received], bool], answer: Answer) -> None:
        """Gives this answer to every chat request that the predicate accepts. Earlier rules come first."""
        self._rules.append((predicate, answer))

    @property
    def chats(self) -> list[Received]:
        """The chat requests alone."""
        return [request for request in self.requests if request.path == "/chat/completions"]

    async def until(self, condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
        """Waits for a condition on what was received. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    def forget(self) -> None:
        """Empties all records, the queue and the rules: for a server that several tests share."""
        self.requests.clear()
        self.violations.clear()
        self.disconnects = 0
        self._queue.clear()
        self._rules.clear()

    def check(self) -> None:
        """Raises `AssertionError` when a strict server would have refused a request."""
        assert not self.violations, "requests that strict model servers refuse:\n" + "\n".join(self.violations)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/__requests", self._list_requests)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        assert self._runner is not None
        await self._runner.cleanup()
        if error is None:
            self.check()
        elif self.violations:
            error.add_note("the model server refused: " + "; ".join(self.violations))

    # --- routes

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        received = await self._record(request)
        if (refusal := self._refusal(received)) is not None:
            return _failure(refusal)
        self._answers += 1
        answer, answer_id = self._choose(received), f"chatcmpl-{self._answers}"
        try:
            if isinstance(answer, Failure):
                return _failure(answer)
            if answer.plain or not received.body.get("stream"):
                return await self._answer_plainly(request, received, answer, answer_id)
            return await self._answer_streaming(request, received, answer, answer_id)
        except (asyncio.CancelledError, ConnectionResetError):
            if not self._closing.is_set():
                await self._count_disconnect()
            raise

    async def _answer_streaming(
        self, request: web.Request, received: Received, reply: Reply, answer_id: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        for act in stream_acts(reply, received.body, answer_id):
            if not response.prepared and not (isinstance(act, Silence) and act.before_headers):
                await response.prepare(request)
            match act:
                case Silence(gate):
                    if not await self._released(gate):
                        _cut(request)
                        return response
                case Cut():
                    _cut(request)
                    return response
                case _:
                    if reply.delay:
                        await asyncio.sleep(reply.delay)
                    await response.write(act)
        await response.write_eof()
        return response

    async def _answer_plainly(
        self, request: web.Request, received: Received, reply: Reply, answer_id: str
    ) -> web.StreamResponse:
        for part in reply.parts:
            match part:
                case Silence(gate):
                    await self._released(gate)
                case Cut():
                    _cut(request)
                case Garbage(text):
                    return web.Response(text=text, content_type="application/json")
                case ErrorChunk(message, type_):
                    return _failure(Failure(200, message, type=type_))
        return web.json_response(completion(reply, received.body, answer_id))

    async def _embeddings(self, request: web.Request) -> web.Response:
        received = await self._record(request)
        body = received.body
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [_vector(str(text), body.get("dimensions") or DIMENSIONS) for text in texts]
        packed = body.get("encoding_format") == "base64"
        rows = [
            {"object": "embedding", "index": place, "embedding": _packed(vector) if packed else vector}
            for place, vector in enumerate(vectors)
        ]
        tokens = sum(len(str(text).split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": rows, "model": body["model"], "usage": usage})

    async def _list_models(self, request: web.Request) -> web.Response:
        received = await self._record(request)
        if (refusal := self._wrong_key(received)) is not None:
            return _failure(refusal)
        rows = [{"id": name, "object": "model", "created": CREATED, "owned_by": "tests"} for name in self.models]
        return web.json_response({"object": "list", "data": rows})

    async def _list_requests(self, request: web.Request) -> web.Response:
        wanted = request.query.get("contains", "")
        found = [asdict(one) for one in self.requests if wanted in json.dumps(one.body, ensure_ascii=False)]
        return web.json_response(found)

    # --- deciding and waiting

    async def _record(self, request: web.Request) -> Received:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.json() if request.can_read_body else None
        received = Received(request.path.removeprefix("/v1"), headers, body)
        self.requests.append(received)
        async with self._changed:
            self._changed.notify_all()
        return received

    async def _count_disconnect(self) -> None:
        self.disconnects += 1
        async with self._changed:
            self._changed.notify_all()

    def _refusal(self, received: Received) -> Failure | None:
        if (wrong_key := self._wrong_key(received)) is not None:
            return wrong_key
        found = faults(received.body) if self.strict else []
        self.violations += found
        return Failure(400, "; ".join(found), type="invalid_request_error") if found else None

    def _wrong_key(self, received: Received) -> Failure | None:
        if self._api_key is None or received.headers.get("authorization") == f"Bearer {self._api_key}":
            return None
        return Failure(401, "Incorrect API key provided.", type="invalid_request_error", code="invalid_api_key")

    def _choose(self, received: Received) -> Answer:
        for predicate, answer in self._rules:
            if predicate(received):
                return answer
        return self._queue.popleft() if self._queue else directed(received.body, self._new_call_id)

    def _new_call_id(self) -> str:
        self._calls += 1
        return f"call_{self._calls}"

    async def _released(self, gate: asyncio.Event | None) -> bool:
        """Waits for the gate; False when the server is closed first."""
        waits = [asyncio.ensure_future(event.wait()) for event in (gate, self._closing) if event is not None]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self._closing.is_set()


@contextlib.contextmanager
def model_in_thread(model: ScriptedModel) -> Iterator[ScriptedModel]:
    """The same server on a loop of its own, for tests that are not async. Leaving it checks for violations."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(model):
        yield model


def _failure(failure: Failure) -> web.Response:
    headers = dict(failure.headers)
    if failure.retry_after is not None:
        headers["retry-after"] = f"{failure.retry_after:g}"
    return web.Response(
        status=failure.status, text=failure.text(), headers=headers, content_type="application/json", charset="utf-8"
    )


def _cut(request: web.Request) -> None:
    # Closing, not aborting: what was written before still reaches the client.
    if request.transport is not None:
        request.transport.close()


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector: one hashed direction per word."""
    vector = [0.0] * dimensions
    for word in text.lower().split() or [""]:
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:4], "big") % dimensions] += 1.0 if digest[4] & 1 else -1.0
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    return [number / length for number in vector]


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
