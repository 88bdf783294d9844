"""What a scripted model answers, as values, and how such an answer looks on the wire of Chat Completions.

No I/O here: `stream_acts` and `completion` turn a `Reply` into frames and objects, `model_server` sends them.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

Finish: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls", "none"]
CREATED = 1_700_000_000


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int = 20
    completion_tokens: int = 10

    def as_json(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True)
class Refuse:
    """One piece of a refusal."""

    piece: str


class Call:
    """A function call, its arguments in the given pieces.

    `indexed=False` leaves `index` out, as some servers do; `whole` sends id, name and all arguments in one chunk.
    """

    def __init__(self, call_id: str, name: str, *pieces: str, indexed: bool = True, whole: bool = False) -> None:
        self.id = call_id
        self.name = name
        self.pieces = pieces
        self.indexed = indexed
        self.whole = whole

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class Interleaved:
    """Parallel calls whose pieces arrive in turn: all heads first, then one piece of each, and so on."""

    def __init__(self, *calls: Call) -> None:
        self.calls = calls


@dataclass(frozen=True)
class Silence:
    """Nothing, until `gate` is set, the client is gone or the server is closed.

    As the first part with `before_headers`, not even the status line is sent before.
    """

    gate: asyncio.Event | None = None
    before_headers: bool = False


@dataclass(frozen=True)
class Cut:
    """The connection ends here, in the middle of the answer."""


@dataclass(frozen=True)
class Garbage:
    """A chunk that is no JSON."""

    text: str = '{"choices": [{'


@dataclass(frozen=True)
class ErrorChunk:
    """An error inside the stream, after a status of 200. The stream ends behind it."""

    message: str = "The model is overloaded."
    type: str = "server_error"
    code: str | int | None = None


@dataclass(frozen=True)
class RawChunk:
    """A chunk's JSON as it stands, for what no other part can say."""

    chunk: dict[str, Any]


Part: TypeAlias = str | Refuse | Call | Interleaved | Silence | Cut | Garbage | ErrorChunk | RawChunk


class Reply:
    """An answer, part by part; a plain string is one piece of text.

    `finish`: the reason at the end, by default `tool_calls` after calls and `stop` otherwise; `"none"` sends none.
    `usage`: sent when the request asks for it; `None` never. `done=False` leaves `[DONE]` out. `delay`: seconds
    before each frame. `plain`: one JSON object, though a stream was asked for.
    """

    def __init__(
        self,
        *parts: Part,
        finish: Finish | None = None,
        usage: Usage | None = Usage(),
        done: bool = True,
        delay: float = 0.0,
        plain: bool = False,
    ) -> None:
        self.parts = parts
        self.finish = finish
        self.usage = usage
        self.done = done
        self.delay = delay
        self.plain = plain

    @property
    def calls(self) -> list[Call]:
        """All calls in the order of their indices."""
        return [call for part in self.parts for call in _calls_in(part)]

    @property
    def finish_reason(self) -> str | None:
        if self.finish is None:
            return "tool_calls" if self.calls else "stop"
        return None if self.finish == "none" else self.finish


@dataclass(frozen=True)
class Failure:
    """An HTTP error instead of an answer. `body` replaces the usual error object; a string is sent as it is."""

    status: int
    message: str = "The model server failed."
    type: str = "server_error"
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        if isinstance(self.body, str):
            return self.body
        if self.body is not None:
            return json.dumps(self.body)
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error})


Answer: TypeAlias = Reply | Failure
Act: TypeAlias = bytes | Silence | Cut


def sse(body: object) -> bytes:
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def stream_acts(reply: Reply, request: dict[str, Any], answer_id: str) -> Iterator[Act]:
    """What the server does for a streamed answer, in order: frames to write, silences, a cut."""
    with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    common = {"id": answer_id, "object": "chat.completion.chunk", "created": CREATED, "model": request.get("model")}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sse({**common, "choices": [choice], **({"usage": None} if with_usage else {})})

    started, index = False, 0
    for part in reply.parts:
        if not started and not isinstance(part, Silence):
            yield chunk({"role": "assistant", "content": "", "refusal": None})
            started = True
        match part:
            case Silence():
                yield part
            case Cut():
                yield part
                return
            case Garbage(text):
                yield sse(text)
            case RawChunk(raw):
                yield sse({**common, **raw})
            case ErrorChunk(message, type_, code):
                yield sse({"error": {"message": message, "type": type_, "param": None, "code": code}})
                return
            case _:
                yield from (chunk(delta) for delta in _deltas(part, index))
                index += len(_calls_in(part))
    yield from _endings(reply, chunk, {**common, "choices": []} if with_usage else None)


def completion(reply: Reply, request: dict[str, Any], answer_id: str) -> dict[str, Any]:
    """The same answer as one `chat.completion` object."""
    text = "".join(part for part in reply.parts if isinstance(part, str))
    refusal = "".join(part.piece for part in reply.parts if isinstance(part, Refuse))
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": CREATED,
        "model": request.get("model"),
        "choices": [choice],
        **({"usage": reply.usage.as_json()} if reply.usage else {}),
    }


def _calls_in(part: Part) -> Sequence[Call]:
    match part:
        case Call():
            return [part]
        case Interleaved():
            return part.calls
        case _:
            return []


def _endings(reply: Reply, chunk: Callable[..., bytes], usage_frame: dict[str, Any] | None) -> Iterator[bytes]:
    if reply.finish_reason is not None:
        yield chunk({}, reply.finish_reason)
    if usage_frame is not None and reply.usage is not None:
        yield sse({**usage_frame, "usage": reply.usage.as_json()})
    if reply.done:
        yield sse("[DONE]")


def _deltas(part: str | Refuse | Call | Interleaved, index: int) -> Iterator[dict[str, Any]]:
    """The deltas of one part; `index` is that of its first call."""
    match part:
        case str():
            yield {"content": part}
        case Refuse(piece):
            yield {"refusal": piece}
        case Call():
            yield from ({"tool_calls": [piece]} for piece in _call_pieces(part, index))
        case Interleaved():
            waiting = [_call_pieces(call, index + place) for place, call in enumerate(part.calls)]
            for turn in zip_longest(*waiting):
                yield from ({"tool_calls": [piece]} for piece in turn if piece is not None)


def _call_pieces(call: Call, index: int) -> Iterator[dict[str, Any]]:
    place = {"index": index} if call.indexed else {}
    head = call.arguments if call.whole else ""
    yield {**place, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": head}}
    if not call.whole:
        yield from ({**place, "function": {"arguments": piece}} for piece in call.pieces)
