"""A model server over HTTP: `ports.Models` for anything that speaks Chat Completions."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import aiohttp
import msgspec
from msgspec import Struct

from understudy.core import limits
from understudy.models import failures, quirks
from understudy.models.body import Body
from understudy.models.failures import READ_ERRORS
from understudy.models.stream import HttpChunkStream
from understudy.models.upstream import Upstream
from understudy.ports import ModelError
from understudy.wire.chat import ChatRequest
from understudy.wire.models import Model

FORWARDED_PATHS: Final = frozenset({"/chat/completions", "/embeddings"})
ASKED_PATHS: Final = frozenset({"/embeddings", "/rerank"})
# Of one connection only (RFC 9110 section 7.6.1), or untrue once the body has been decompressed and cut anew.
_NOT_FORWARDED: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class _Entry(Struct, frozen=True):
    """A model as servers list it; only the id is certain."""

    id: str
    created: float | None = None
    owned_by: str | None = None


class _Listing(Struct, frozen=True):
    data: list[_Entry]


_LISTING: Final = msgspec.json.Decoder(_Listing)
_ENTRIES: Final = msgspec.json.Decoder(list[_Entry])


class HttpForwarded:
    """A `ports.Forwarded`."""

    def __init__(self, response: aiohttp.ClientResponse, body: Body) -> None:
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "application/octet-stream")
        self.headers = _forwarded_headers(response)
        self._body = body

    async def pieces(self) -> AsyncIterator[bytes]:
        while piece := await self._body.piece():
            yield piece

    async def close(self) -> None:
        self._body.drop()


class HttpModels:
    """A `ports.Models` with one set of pooled connections, opened when first needed, in the loop that needs them.

    Raises `ValueError` for a quirk that is not in the table.
    """

    def __init__(
        self, upstream: Upstream, *, models_cache_seconds: float = limits.UPSTREAM_MODELS_CACHE_SECONDS
    ) -> None:
        self._upstream = upstream
        self._quirks = quirks.named(upstream.quirks)
        self._secrets = upstream.secrets()
        self._urls = {path: upstream.url(path) for path in (*FORWARDED_PATHS, *ASKED_PATHS, "/models")}
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._models_cache_seconds = models_cache_seconds
        self._models: Sequence[Model] = ()
        self._models_until = 0.0
        self._models_failure: ModelError | None = None
        self._models_asked = asyncio.Lock()

    async def chat(self, request: ChatRequest) -> HttpChunkStream:
        """Raises `ModelError`: no answer, or one with a status other than 2xx."""
        json = quirks.request_body(request, self._quirks)
        response, body = await self._ask(
            "POST", "/chat/completions", json, accept="text/event-stream, application/json"
        )
        if not 200 <= response.status < 300:
            raise await self._refusal(response, body)
        return HttpChunkStream(body, response.content_type if _has_type(response) else "", self._secrets)

    async def forward(self, path: str, body: bytes, *, content_type: str) -> HttpForwarded:
        """A client's own request, sent as it is but for the key. Raises `ModelError`, for a refused key too."""
        if path not in FORWARDED_PATHS:
            raise ValueError(f"{path!r} is not forwarded")
        response, answer = await self._ask("POST", path, body, content_type=content_type)
        if response.status in (401, 403):
            # To the client it would look like a refusal of its own key, and it may quote ours.
            raise await self._refusal(response, answer)
        return HttpForwarded(response, answer)

    async def ask(self, path: str, model: str, body: Mapping[str, object]) -> bytes:
        """The whole answer. Raises `ModelError`: none, one with a status other than 2xx, or one that is too long."""
        if path not in ASKED_PATHS:
            raise ValueError(f"{path!r} is not asked")
        response, answer = await self._ask("POST", path, msgspec.json.encode({**body, "model": model}))
        if not 200 <= response.status < 300:
            raise await self._refusal(response, answer)
        return await answer.whole(limits.UPSTREAM_ANSWER_BYTES_MAX)

    async def models(self) -> Sequence[Model]:
        """What the server lists, asked for anew when the last answer is some seconds old. Raises `ModelError`."""
        loop = asyncio.get_running_loop()
        failed_before = self._models_failure
        async with self._models_asked:
            if self._models_failure is not None and self._models_failure is not failed_before:
                raise self._models_failure  # of the attempt that this caller has waited for
            if loop.time() >= self._models_until:
                try:
                    self._models = await self._list_models()
                except ModelError as error:
                    self._models_failure = error
                    raise
                self._models_until = loop.time() + self._models_cache_seconds
            return self._models

    def context_window(self, model: str) -> int:  # noqa: ARG002 - the setting holds for all models of one server
        return self._upstream.context_window_tokens

    async def close(self) -> None:
        """Ends all connections, also those of answers that are still arriving."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _list_models(self) -> Sequence[Model]:
        response, body = await self._ask("GET", "/models")
        if not 200 <= response.status < 300:
            raise await self._refusal(response, body)
        listing = await body.whole(limits.UPSTREAM_LIST_BYTES_MAX)
        try:
            entries = _ENTRIES.decode(listing) if listing.lstrip().startswith(b"[") else _LISTING.decode(listing).data
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise failures.unexpected(response.content_type if _has_type(response) else "") from error
        return tuple(
            Model(id=entry.id, created=int(entry.created or 0), owned_by=entry.owned_by or self._upstream.name)
            for entry in entries
        )

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json, text/event-stream",
    ) -> tuple[aiohttp.ClientResponse, Body]:
        upstream = self._upstream
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            async with asyncio.timeout(upstream.connect_seconds + upstream.silence_seconds):
                # A redirect would turn a POST into a GET, and might carry the prompt to another host.
                response = await self._connected().request(
                    method, self._urls[path], data=body, headers=headers, allow_redirects=False
                )
        except READ_ERRORS as error:
            raise failures.of_no_answer(
                error, connect_seconds=upstream.connect_seconds, silence_seconds=upstream.silence_seconds
            ) from error
        return response, Body(response, upstream.silence_seconds)

    async def _refusal(self, response: aiohttp.ClientResponse, body: Body) -> ModelError:
        words = await body.beginning(limits.UPSTREAM_ERROR_BYTES_MAX, self._upstream.connect_seconds)
        answer = failures.Answer(status=response.status, headers=response.headers, body=words)
        return failures.of_answer(answer, self._secrets)

    def _connected(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ModelError("The server is shutting down.")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(  # which sets TCP_NODELAY on every connection
                    limit=limits.UPSTREAM_CONNECTIONS_MAX,
                    keepalive_timeout=limits.UPSTREAM_KEEPALIVE_SECONDS,
                ),
                headers=self._upstream.request_headers(),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._upstream.connect_seconds),
                auto_decompress=True,
                trust_env=False,
            )
        return self._session


def _has_type(response: aiohttp.ClientResponse) -> bool:
    """Whether `content_type` is the server's word: aiohttp makes one up where there is none."""
    return "Content-Type" in response.headers


def _forwarded_headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    dropped = set(_NOT_FORWARDED)
    for value in response.headers.getall("Connection", ()):
        dropped.update(name.strip().lower() for name in value.split(","))
    return {name: value for name, value in response.headers.items() if name.lower() not in dropped}
