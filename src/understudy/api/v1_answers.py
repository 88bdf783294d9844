"""The first version's answers: `file_ids` on assistants, messages and runs. Contract section 8.

They were required there, so clients of `assistants=v1` may not read an object without them. The one place that knows
of it: routes answer in today's shape, and what they answer to such a caller, lists and streams too, passes here.
"""

import re
from typing import Final

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.api.caller import SCOPE_KEY, Caller
from understudy.api.sse import LINE

_RESOURCES: Final = ("/assistants", "/threads")
# A frame's JSON has no line break in it.
_FRAME_OBJECT: Final = re.compile(rb"^data: (\{.*)$", re.MULTILINE)


class V1Answers:
    """The routes, for callers of either version."""

    def __init__(self, routes: ASGIApp) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks = scope.get(SCOPE_KEY)
        if isinstance(asks, Caller) and asks.beta == "v1" and scope["path"].startswith(_RESOURCES):
            send = _Rewriter(send).send
            scope.pop(LINE, None)  # what is written to it does not pass here
        await self._routes(scope, receive, send)


class _Rewriter:
    """One answer on its way out. JSON comes as one piece, streams in pieces of whole frames."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if Headers(raw=message["headers"]).get("content-type") == "application/json":
                self._start = message  # its content-length is not known yet
            else:
                await self._send(message)
        elif self._start is None:
            await self._send({**message, "body": _FRAME_OBJECT.sub(_frame, message["body"])})
        else:
            assert not message.get("more_body"), "JSON comes as one piece"
            body = _rewritten(message["body"])
            headers = MutableHeaders(raw=list(self._start["headers"]))
            headers["content-length"] = str(len(body))
            await self._send({**self._start, "headers": headers.raw})
            await self._send({**message, "body": body})


def _frame(found: re.Match[bytes]) -> bytes:
    return b"data: " + _rewritten(found[1])


def _rewritten(shown: bytes) -> bytes:
    return msgspec.json.encode(with_file_ids(msgspec.json.decode(shown)))


def with_file_ids(shown: object) -> object:
    """An object, or a list of such, with the files that it names also in the first version's place."""
    if not isinstance(shown, dict):
        return shown
    match shown:
        case {"object": "list", "data": list(items)}:
            return {**shown, "data": [with_file_ids(item) for item in items]}
        case {"object": "thread.message", "attachments": list(attachments)}:
            return {**shown, "file_ids": [attachment["file_id"] for attachment in attachments]}
        case {"object": "assistant" | "thread.run", "tool_resources": dict(resources)}:
            return {**shown, "file_ids": resources.get("code_interpreter", {}).get("file_ids", [])}
        case _:
            return shown
