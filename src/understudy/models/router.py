"""Several model servers as one: each request goes where the routes say, and on to the next server if that is down."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
import structlog
from msgspec import Raw, Struct

from understudy.core import limits
from understudy.models import failures
from understudy.models.routes import Place, Routes
from understudy.ports import ChunkStream, Forwarded, ModelError, Models, UnknownModel
from understudy.wire.chat import ChatRequest
from understudy.wire.models import Model

T = TypeVar("T")

log = structlog.get_logger(__name__)


class _Asked(Struct, frozen=True):
    """All that is read of a passed-through body."""

    model: str = ""


class RoutedModels:
    """A `ports.Models` over others, by the names that the routes have for them.

    A server that cannot be reached, is busy (429), broken (5xx) or silent before its answer begins is passed over for
    the route's next one. An answer that has begun is never begun again.
    """

    def __init__(self, upstreams: Mapping[str, Models], routes: Routes) -> None:
        self._upstreams = upstreams
        self._routes = routes

    async def chat(self, request: ChatRequest) -> ChunkStream:
        """Raises `UnknownModel`, and `ModelError` as the first server failed, retryable if any server's failure is."""

        def at(place: Place) -> Awaitable[ChunkStream]:
            return self._upstreams[place.upstream].chat(msgspec.structs.replace(request, model=place.model))

        return await self._first(request.model, at)

    async def ask(self, path: str, model: str, body: Mapping[str, object]) -> bytes:
        """Raises as `chat` does."""
        return await self._first(model, lambda place: self._upstreams[place.upstream].ask(path, place.model, body))

    async def forward(self, path: str, body: bytes, *, content_type: str) -> Forwarded:
        """What the last server asked answers, `model` in the body replaced. Raises `UnknownModel`, `ModelError`."""
        asked = _model_of(body)
        *others, last = self._places(asked)
        for place in others:
            try:
                answer = await self._forward_to(place, path, body, content_type, asked)
            except ModelError as error:
                if not failures.worth_asking_elsewhere(error):
                    raise
                log.info("upstream_failed", upstream=place.upstream, model=place.model, reason=error.message)
            else:
                if not failures.is_away_or_busy(answer.status):
                    return answer
                log.info("upstream_failed", upstream=place.upstream, model=place.model, status=answer.status)
                await answer.close()
        return await self._forward_to(last, path, body, content_type, asked)

    async def models(self) -> Sequence[Model]:
        """What the servers list, as far as routes take it; aliases; routes without wildcards. Each name once.

        Raises `ModelError` only when no server answers and there is no name to list.
        """
        listings = await asyncio.gather(*(self._listing(name) for name in self._upstreams))
        listed = [model for listing in listings if not isinstance(listing, ModelError) for model in listing]
        found: dict[str, Model] = {}
        for model in [*listed, *self._named()]:
            if self._routes.places(model.id):
                found.setdefault(model.id, model)
        failed = [listing for listing in listings if isinstance(listing, ModelError)]
        if failed and len(failed) == len(listings) and not found:
            raise failed[0]
        return tuple(found.values())

    def context_window(self, model: str) -> int:
        """That of the route's first server: a fallback with less room refuses what is too long for it."""
        for place in self._routes.places(model):
            return self._upstreams[place.upstream].context_window(place.model)
        return limits.CONTEXT_WINDOW_TOKENS

    async def close(self) -> None:
        await asyncio.gather(*(models.close() for models in self._upstreams.values()))

    async def _first(self, model: str, at: Callable[[Place], Awaitable[T]]) -> T:
        """What the first server answers that is there."""
        failed: list[ModelError] = []
        for place in self._places(model):
            try:
                return await at(place)
            except ModelError as error:
                log.info("upstream_failed", upstream=place.upstream, model=place.model, reason=error.message)
                # Refusals of the first are about the request. A fallback's own must not make a short outage final.
                if not failed and not failures.worth_asking_elsewhere(error):
                    raise
                failed.append(error)
        raise _of_all(failed)

    def _places(self, model: str) -> Sequence[Place]:
        places = self._routes.places(model)
        if not places:
            raise UnknownModel(model)
        return places

    async def _forward_to(self, place: Place, path: str, body: bytes, content_type: str, asked: str) -> Forwarded:
        sent = body if place.model == asked else _renamed(body, place.model)
        return await self._upstreams[place.upstream].forward(path, sent, content_type=content_type)

    async def _listing(self, name: str) -> Sequence[Model] | ModelError:
        seconds = limits.UPSTREAM_LIST_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await self._upstreams[name].models()
        except TimeoutError:
            failure = failures.silent(seconds)
        except ModelError as error:
            failure = error
        log.info("upstream_not_listed", upstream=name, reason=failure.message)
        return failure

    def _named(self) -> Iterable[Model]:
        for name in self._routes.names():
            for place in self._routes.places(name)[:1]:
                yield Model(id=name, created=0, owned_by=place.upstream)


def _of_all(failed: Sequence[ModelError]) -> ModelError:
    """As the first one failed, to be tried again when the soonest of them may help."""
    first = failed[0]
    waits = [error.retry_after or 0.0 for error in failed if error.retryable]
    if len(failed) == 1:
        return first
    return ModelError(
        first.message, code=first.code, retryable=bool(waits), retry_after=min(waits, default=0.0) or None
    )


def _model_of(body: bytes) -> str:
    """The model that a body asks for; empty for a body that is no such JSON: the model server refuses it best."""
    try:
        return msgspec.json.decode(body, type=_Asked).model
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return ""


def _renamed(body: bytes, model: str) -> bytes:
    """The body with another `model`; every other value stays as it was written, byte for byte."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return body
    return msgspec.json.encode(fields | {"model": model})
