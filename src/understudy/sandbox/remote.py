"""Sandboxes on other machines: daemons, each key's session at one of them for as long as that one answers."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from understudy.core.limits import (
    SANDBOX_CONNECT_SECONDS,
    SANDBOX_DOWN_SECONDS,
    SANDBOX_KEYS_MAX,
    SANDBOX_SILENCE_SECONDS,
    SANDBOX_WAIT_SECONDS,
)
from understudy.ports import SandboxBusy, SandboxSession, SandboxUnavailable
from understudy.sandbox.protocol import Held, HeldLine, Ping, Refused, Wanted
from understudy.sandbox.remote_session import Broken, Lines, RemoteSession, bounded_body, words_of

__all__ = ["RemoteSandboxes"]

log = structlog.get_logger(__name__)

_NONE_ANSWERS: Final = (
    "None of the code interpreter's daemons answers: start them with `understudy sandbox serve`, and see this server's "
    "log."
)
_ONE_IS_SILENT: Final = (
    "The code interpreter's daemon {} of {} does not answer: start it with `understudy sandbox serve`, and see this "
    "server's log."
)
_WRONG_KEY: Final = "The code interpreter's daemon refuses this server's key: set the same `sandbox_key` at both."
_CHECK_SECONDS: Final = 120.0
_GONE: Final = (aiohttp.ClientError, OSError, TimeoutError, Broken)
_held = msgspec.json.Decoder(HeldLine)


class RemoteSandboxes:
    """Those of the daemons at these base URLs, which take this key.

    A key leads to one of them, the same for every server with the same list. When that one does not answer it leads to
    the next, where its session is fresh.
    """

    def __init__(self, urls: Sequence[str], key: str) -> None:
        assert urls
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._headers = {"authorization": f"Bearer {key}"}
        self._http: aiohttp.ClientSession | None = None
        self._down: dict[str, float] = {}  # daemons that did not answer -> until when they are asked last
        self._last: OrderedDict[str, str] = OrderedDict()  # keys -> the daemon that had their session last

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[SandboxSession]:
        session, lease = await self._opened(key)
        try:
            yield session
        finally:
            lease.close()

    async def check(self) -> None:
        """Has each daemon check itself. Raises `SandboxUnavailable` for the first that does not work."""
        for number, url in enumerate(self._urls, 1):
            timeout = aiohttp.ClientTimeout(total=_CHECK_SECONDS, sock_connect=SANDBOX_CONNECT_SECONDS)
            try:
                async with self._client().post(f"{url}/v1/check", timeout=timeout) as answer:
                    if answer.status != 200:
                        raise SandboxUnavailable(await _refusal(answer))
            except _GONE as error:
                log.warning("sandbox_daemon_gone", url=url, error=repr(error))
                raise SandboxUnavailable(_ONE_IS_SILENT.format(number, len(self._urls))) from error

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=SANDBOX_CONNECT_SECONDS, sock_read=SANDBOX_SILENCE_SECONDS
                ),
                auto_decompress=False,  # a short answer must not become a long one
            )
        return self._http

    async def _opened(self, key: str) -> tuple[RemoteSession, aiohttp.ClientResponse]:
        reason = _NONE_ANSWERS
        for url in self._order(key):
            try:
                opened = await self._ask(url, key)
            except SandboxUnavailable as error:
                reason = str(error)
            except _GONE as error:
                log.warning("sandbox_daemon_gone", url=url, error=repr(error))
                self._down[url] = time.monotonic() + SANDBOX_DOWN_SECONDS
            else:
                self._down.pop(url, None)
                self._remember(key, url)
                return opened
        raise SandboxUnavailable(reason)

    async def _ask(self, url: str, key: str) -> tuple[RemoteSession, aiohttp.ClientResponse]:
        # What another daemon did for this key meanwhile, this one has not seen.
        fresh = self._last.get(key, url) != url
        answer = await self._client().post(f"{url}/v1/leases", data=msgspec.json.encode(Wanted(key, fresh)))
        try:
            held = await _granted(answer)
        except BaseException:
            answer.close()
            raise
        return RemoteSession(self._client(), f"{url}/v1/leases/{quote(held.lease, safe='')}", held.state), answer

    def _order(self, key: str) -> Iterator[str]:
        """The daemons as they are to be asked: the one that had the session, then by rendezvous; silent ones last."""
        now = time.monotonic()
        last = self._last.get(key)
        yield from sorted(
            self._urls,
            key=lambda url: (
                self._down.get(url, now) > now,
                url != last,
                hashlib.sha256(f"{url} {key}".encode()).digest(),
            ),
        )

    def _remember(self, key: str, url: str) -> None:
        self._last[key] = url
        self._last.move_to_end(key)
        if len(self._last) > SANDBOX_KEYS_MAX:
            self._last.popitem(last=False)


async def _granted(answer: aiohttp.ClientResponse) -> Held:
    """What the session is held by. Raises `SandboxBusy`, `SandboxUnavailable`, or what a broken daemon comes to."""
    if answer.status != 200:
        reason = await _refusal(answer)
        raise SandboxBusy(reason) if answer.status == 503 else SandboxUnavailable(reason)
    lines = Lines(answer, bytes_max=2**16, seconds=SANDBOX_WAIT_SECONDS + SANDBOX_SILENCE_SECONDS)
    while True:
        match await lines.next(_held):
            case Held() as held:
                return held
            case Refused("busy", message):
                raise SandboxBusy(message.replace("\0", ""))
            case Refused(_, message):
                raise SandboxUnavailable(message.replace("\0", ""))
            case Ping():
                pass


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    if answer.status == 401:
        return _WRONG_KEY
    return words_of(await bounded_body(answer)) or f"The code interpreter's daemon answered {answer.status}."
