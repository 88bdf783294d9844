"""A model server that costs next to nothing: Chat Completions, streamed as its script says. `python -m bench.model`"""

import asyncio
from functools import partial
from typing import Final, cast

import msgspec
from msgspec import Struct

from bench.child import serve_until_stdin_ends
from bench.script import Script, read_script

_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class _Asked(Struct):
    model: str


def _event(choices: str, more: str = "null") -> bytes:
    """One event in a chunk of HTTP's, as long as a real server's."""
    json = (
        '{"id":"chatcmpl-8f0e2c6b5d1a4f7e9b3c","object":"chat.completion.chunk","created":1760000000,"model":"scripted",'
        f'"system_fingerprint":"fp_5f20662549","choices":[{choices}],"usage":{more}}}'
    )
    return _in_chunk(f"data: {json}\n\n".encode())


def _in_chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _choice(delta: str, finish: str = "null") -> str:
    return f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}'


_ROLE: Final = _event(_choice('{"role":"assistant","content":""}'))
_TOKEN: Final = _event(_choice('{"content":" token"}'))
_FINISH: Final = _event(_choice("{}", '"stop"'))


def _ending(tokens: int) -> bytes:
    usage = f'{{"prompt_tokens":20,"completion_tokens":{tokens},"total_tokens":{20 + tokens}}}'
    return _FINISH + _event("", usage) + _in_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _answer(json: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(json)}\r\n\r\n{json}".encode()


class _Gate:
    """Holds streams back until it is opened, for good."""

    def __init__(self) -> None:
        self.held: set[_Connection] = set()
        self.is_open = False

    def open(self) -> None:
        self.is_open = True
        while self.held:
            self.held.pop().give_all()


class _Connection(asyncio.Protocol):
    """One client's requests, one after the other."""

    def __init__(self, gate: _Gate) -> None:
        self._gate = gate
        self._received = b""
        self._script = Script()
        self._given = 0
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        self._gate.held.discard(self)
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        self._received = b""
        self._take(head.split(b" ", 2)[1], body)

    def _take(self, path: bytes, body: bytes) -> None:
        match path:
            case b"/v1/chat/completions":
                self._begin(read_script(msgspec.json.decode(body, type=_Asked).model))
            case b"/v1/models":
                self._transport.write(_answer('{"object":"list","data":[{"id":"scripted","object":"model"}]}'))
            case b"/held":
                self._transport.write(_answer(str(len(self._gate.held))))
            case b"/release":
                self._gate.open()
                self._transport.write(_answer("0"))
            case _:
                self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    def _begin(self, script: Script) -> None:
        self._script, self._given = script, 0
        if script.held and not self._gate.is_open:
            self._transport.write(_STREAM)
            self._gate.held.add(self)
        elif script.every or script.first:
            self._transport.write(_STREAM + _ROLE)
            self._give_at(self._loop.time() + script.first)
        else:
            self._transport.write(_STREAM)
            self.give_all()

    def give_all(self) -> None:
        tokens = self._script.tokens
        self._transport.write(_ROLE + _TOKEN * tokens + _ending(tokens))

    def _give_at(self, due: float) -> None:
        # By the clock: a late token does not make all the following ones late.
        self._next = self._loop.call_at(due, partial(self._give, due))

    def _give(self, due: float) -> None:
        self._given += 1
        if self._given < self._script.tokens:
            self._transport.write(_TOKEN)
            self._give_at(due + self._script.every)
        else:
            self._next = None
            self._transport.write(_TOKEN + _ending(self._given))


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def _serve() -> None:
    gate = _Gate()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(gate), "127.0.0.1", 0, backlog=2048)
    async with server:
        await serve_until_stdin_ends(server.sockets[0].getsockname()[1])


if __name__ == "__main__":
    from bench.child import run

    run(_serve())
