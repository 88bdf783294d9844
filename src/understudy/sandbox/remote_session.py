"""A session that a daemon holds for this server, and its answers, which are read within bounds."""

import asyncio
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct

from understudy.core.limits import (
    SANDBOX_ANSWER_BYTES_MAX,
    SANDBOX_CALL_BYTES_MAX,
    SANDBOX_CALL_SECONDS,
    SANDBOX_CODE_BYTES_MAX,
    SANDBOX_HARVEST_BYTES_MAX,
    SANDBOX_IMAGE_BYTES_MAX,
    SANDBOX_SILENCE_SECONDS,
)
from understudy.ports import (
    CodeEnded,
    CodeEvent,
    CodePicture,
    CodePrinted,
    CodeRaised,
    CodeValue,
    FolderChanges,
    SandboxFile,
    SandboxRefusal,
    SessionState,
)
from understudy.sandbox.protocol import CodeLine, Execution, Listing, Ping, Refused, Stored

__all__ = ["Broken", "Lines", "RemoteSession", "bounded_body", "words_of"]

T = TypeVar("T")

_GONE: Final = "The machine that ran the code does not answer any more."
_LOST: Final = f"{_GONE} Variables and files are lost."
_LINE_BYTES_MAX: Final = SANDBOX_IMAGE_BYTES_MAX * 4 // 3 + 2**16
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_FAILED: Final = (aiohttp.ClientError, OSError, TimeoutError)
_code_line = msgspec.json.Decoder(CodeLine)


class Broken(Exception):
    """A daemon's answer is none."""


class Lines:
    """An answer's lines, one at a time. None is longer than `bytes_max`, and after `seconds` there are no more."""

    def __init__(
        self, answer: aiohttp.ClientResponse, *, bytes_max: int, seconds: float, total_max: int = SANDBOX_CALL_BYTES_MAX
    ) -> None:
        self._content = answer.content
        self._bytes_max = bytes_max
        self._left = total_max
        self._deadline = time.monotonic() + seconds
        self._pending = bytearray()
        self._looked = 0

    async def next(self, decoder: "msgspec.json.Decoder[T]") -> T:
        """Raises `Broken` for what is no line, and for the end: an answer says itself what is its last line."""
        while (end := self._pending.find(b"\n", self._looked)) < 0:
            self._looked = len(self._pending)
            if self._looked > self._bytes_max:
                raise Broken("a line is too long")
            async with asyncio.timeout(min(SANDBOX_SILENCE_SECONDS, max(0.0, self._deadline - time.monotonic()))):
                block = await self._content.readany()
            if not block:
                raise Broken("the answer ended early")
            self._left -= len(block)
            if self._left < 0:
                raise Broken("the answer is too long")
            self._pending += block
        line = bytes(memoryview(self._pending)[:end])
        del self._pending[: end + 1]
        self._looked = 0
        return _decoded(line, decoder)


class RemoteSession:
    """`url` is the lease's. Whatever the daemon says, every call of this ends, with one of the port's own answers."""

    def __init__(self, http: aiohttp.ClientSession, url: str, state: SessionState) -> None:
        self.state: SessionState = state
        self._http = http
        self._url = url
        self._is_lost = False

    async def put(self, name: str, content: bytes | Path) -> str:
        url = f"{self._url}/file?name={quote(name, safe='', errors='replace')}"
        if isinstance(content, Path):
            with await asyncio.to_thread(content.open, "rb") as file:
                stored = await self._asked("PUT", url, Stored, data=file)
        else:
            stored = await self._asked("PUT", url, Stored, data=io.BytesIO(content))
        return stored.path.replace("\0", "")

    async def execute(self, code: str, *, seconds: float | None = None) -> AsyncIterator[CodeEvent]:
        if len(code.encode("utf-8", "replace")) > SANDBOX_CODE_BYTES_MAX:
            raise SandboxRefusal(f"The code is longer than {SANDBOX_CODE_BYTES_MAX:,} bytes.")
        ended = False
        try:
            async with aclosing(self._said(code, seconds)) as said:
                async for event in said:
                    ended = isinstance(event, CodeEnded)
                    yield event
        except (*_FAILED, Broken):
            self._is_lost = True
        if not ended:
            yield CodeEnded("killed", _LOST)

    async def _said(self, code: str, seconds: float | None) -> AsyncGenerator[CodeEvent]:
        if self._is_lost:
            return
        execution = msgspec.json.encode(Execution(code.encode("utf-8", "replace").decode(), seconds))
        longest = (SANDBOX_CALL_SECONDS * 10 if seconds is None else seconds) + 4 * SANDBOX_SILENCE_SECONDS
        async with self._http.post(f"{self._url}/execute", data=io.BytesIO(execution)) as answer:
            if answer.status != 200:
                raise Broken(f"status {answer.status}")
            lines = Lines(answer, bytes_max=_LINE_BYTES_MAX, seconds=longest)
            while True:
                said = await lines.next(_code_line)
                if isinstance(said, Refused):
                    raise SandboxRefusal(said.message)
                event = None if isinstance(said, Ping) else _without_nul(said)
                if event is not None:
                    yield event
                if isinstance(event, CodeEnded):
                    return

    async def interrupt(self) -> None:
        if not self._is_lost:
            with suppress(*_FAILED):
                async with self._http.post(f"{self._url}/interrupt"):
                    pass

    async def changes(self) -> FolderChanges:
        if self._is_lost:
            return FolderChanges()
        found = await self._asked("POST", f"{self._url}/changes", FolderChanges)
        files = _sound(found.files)
        return FolderChanges(files, max(0, found.left_out) + len(found.files) - len(files))

    async def files(self) -> Sequence[SandboxFile]:
        if self._is_lost:
            return ()
        return _sound((await self._asked("GET", f"{self._url}/files", Listing)).files)

    async def get(self, name: str) -> AsyncIterator[bytes]:
        url = f"{self._url}/file?name={quote(name, safe='', errors='replace')}"
        left = SANDBOX_HARVEST_BYTES_MAX
        try:
            async with self._http.get(url) as answer:
                await _checked(answer)
                while block := await answer.content.readany():
                    left -= len(block)
                    if left < 0:
                        raise SandboxRefusal(f"This file is larger than {SANDBOX_HARVEST_BYTES_MAX:,} bytes.")
                    yield block
        except (*_FAILED, Broken) as error:
            raise SandboxRefusal(_GONE) from error

    async def end(self) -> None:
        if not self._is_lost:
            with suppress(*_FAILED):
                async with self._http.delete(self._url):
                    pass

    async def _asked(self, method: str, url: str, type_: type[T], data: object = None) -> T:
        try:
            async with self._http.request(method, url, data=data) as answer:
                await _checked(answer)
                return _decoded(await bounded_body(answer), msgspec.json.Decoder(type_))
        except (*_FAILED, Broken) as error:
            self._is_lost = True
            raise SandboxRefusal(_GONE) from error


async def _checked(answer: aiohttp.ClientResponse) -> None:
    if answer.status in (413, 422):
        raise SandboxRefusal(words_of(await bounded_body(answer)) or "The sandbox refuses this file.")
    if answer.status != 200:
        raise Broken(f"status {answer.status}")


async def bounded_body(answer: aiohttp.ClientResponse) -> bytes:
    """All of a short answer. Raises `Broken` for a long one."""
    body = bytearray()
    while block := await answer.content.readany():
        body += block
        if len(body) > SANDBOX_ANSWER_BYTES_MAX:
            raise Broken("the answer is too long")
    return bytes(body)


class _Error(Struct):
    message: str


class _ErrorBody(Struct):
    error: _Error


def words_of(body: bytes) -> str:
    """What a refusal says to its reader; nothing where it says nothing."""
    try:
        return msgspec.json.decode(body, type=_ErrorBody).error.message.replace("\0", "")[:500]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _decoded(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Broken("an answer is none") from error


def _without_nul(event: CodeEvent) -> CodeEvent | None:
    # NUL is text, but no database takes it.
    match event:
        case CodePrinted(text) | CodeValue(text) | CodeRaised(text):
            return type(event)(text.replace("\0", ""))
        case CodePicture(png):
            return event if png.startswith(_PNG) else None
        case CodeEnded(how, lost):
            return CodeEnded(how, lost and lost.replace("\0", "")[:500])


def _sound(files: Sequence[SandboxFile]) -> Sequence[SandboxFile]:
    """Those whose names lead nowhere else."""
    return [
        file
        for file in files
        if file.name.isprintable() and file.size_bytes >= 0 and not {"", ".", ".."} & set(file.name.split("/"))
    ]
