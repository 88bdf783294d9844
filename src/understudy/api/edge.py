"""What every request passes: mounts, keys, the headers of every answer, and errors in the API's own form."""

import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

import structlog
from msgspec import Struct
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.api.caller import SCOPE_KEY, Beta, Caller, beta_of
from understudy.api.respond import answer, error_envelope
from understudy.core import errors
from understudy.core.ids import ProjectId
from understudy.ports import BlobRefused, Clock, NewId, StoreUnavailable

log = structlog.get_logger()

# Azure clients put their resource's path in front, and the deployment's name for what passes straight through.
_MOUNT = re.compile(r"^(?:/openai)?(?:/v1)?(?:/deployments/[^/]+(?=/(?:chat/completions|embeddings)$))?(?=/|$)")
_OPEN = frozenset({"/healthz", "/readyz"})
_BETA_RESOURCES = ("/assistants", "/threads", "/vector_stores")
_OUR_HEADERS = frozenset({b"x-request-id", b"openai-version", b"openai-organization", b"openai-processing-ms"})


class Authenticate(Protocol):
    async def project(self, key: str) -> ProjectId | None:
        """The project that a key opens; `None` for a key that opens nothing."""


class EdgeSettings(Struct, frozen=True, kw_only=True):
    organization: str
    beta_required: bool


class Edge:
    """The outermost application. `routes` answers once the caller is known."""

    def __init__(
        self,
        routes: ASGIApp,
        authenticate: Authenticate,
        settings: EdgeSettings,
        *,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._routes = routes
        self._authenticate = authenticate
        self._settings = settings
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        reply = _Reply(self._new_id("request"), self._settings.organization, self._clock, send)
        try:
            await self._serve(scope, receive, reply.send)
        except errors.ApiError as error:
            await reply.error(error, scope, receive)
        except (StoreUnavailable, BlobRefused) as error:
            log.warning("store_unavailable", request_id=reply.request_id, reason=str(error))
            unavailable = errors.Unavailable("The server cannot read or write its data just now.")
            await reply.error(unavailable, scope, receive)
        except Exception:
            log.exception("request_crashed", request_id=reply.request_id, path=scope["path"])
            await reply.error(errors.InternalError(), scope, receive)
        finally:
            reply.log(scope)

    async def _serve(self, scope: Scope, receive: Receive, send: Callable[[Message], Awaitable[None]]) -> None:
        path: str = scope["path"]
        inner = path if path in _OPEN else path[_mount_length(path) :] or "/"
        scope["understudy.path"] = path
        scope["path"] = inner
        if inner not in _OPEN:
            headers = Headers(scope=scope)
            project = await self._project(headers)
            beta = beta_of(headers.get("openai-beta"))
            self._check_beta(inner, beta)
            scope[SCOPE_KEY] = Caller(project, beta)
        await self._routes(scope, receive, send)

    async def _project(self, headers: Headers) -> ProjectId:
        key = headers.get("api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            key = token.strip()
        if not key:
            raise errors.missing_key()
        project = await self._authenticate.project(key)
        if project is None:
            raise errors.wrong_key(key)
        return project

    def _check_beta(self, path: str, beta: Beta) -> None:
        """Where the header is required, the first version is refused as the service refuses it since it was ended."""
        if self._settings.beta_required and beta != "v2" and path.startswith(_BETA_RESOURCES):
            told = errors.V1_DEPRECATED if beta == "v1" else errors.BETA_HEADER_MISSING
            raise errors.BadRequest(told, code="invalid_beta")


def _mount_length(path: str) -> int:
    found = _MOUNT.match(path)
    return found.end() if found else 0


class _Reply:
    """One answer: adds the headers that every answer has, and knows whether it has begun."""

    def __init__(self, request_id: str, organization: str, clock: Clock, send: Send) -> None:
        self.request_id = request_id
        self._organization = organization
        self._clock = clock
        self._send = send
        self._began_at = clock()
        self._status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [header for header in message.get("headers", ()) if header[0] not in _OUR_HEADERS]
            headers += [
                (b"x-request-id", self.request_id.encode()),
                (b"openai-version", b"2020-10-01"),
                (b"openai-organization", self._organization.encode("latin-1")),
                (b"openai-processing-ms", b"%d" % self._elapsed_ms()),
            ]
            message = {**message, "headers": headers}
        await self._send(message)

    async def error(self, error: errors.ApiError, scope: Scope, receive: Receive) -> None:
        if self._status is not None:
            # The answer has begun, so the error cannot be told; breaking off is how the client learns of it.
            raise error
        # Whoever has not sent its body in time is not waited for to send the rest.
        headers = {"connection": "close"} if isinstance(error, errors.TooSlow) else None
        await answer(error_envelope(error), status=error.status, headers=headers)(scope, receive, self.send)

    def log(self, scope: Scope) -> None:
        # Whoever looks whether the server is well looks again and again: only what is amiss is of interest.
        level = logging.DEBUG if scope["path"] in _OPEN and self._status == HTTPStatus.OK else logging.INFO
        if not log.is_enabled_for(level):
            return
        headers = Headers(scope=scope)
        log.log(
            level,
            "request",
            request_id=self.request_id,
            method=scope["method"],
            path=scope.get("understudy.path", scope["path"]),
            status=self._status,
            ms=self._elapsed_ms(),
            client=headers.get("x-stainless-lang"),
            client_version=headers.get("x-stainless-package-version"),
            retry=headers.get("x-stainless-retry-count"),
        )

    def _elapsed_ms(self) -> int:
        return int((self._clock() - self._began_at) * 1000)
