"""`/models`, and the requests that go straight to the model server: one client object serves the whole app."""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from understudy.api.read import read_bytes
from understudy.api.respond import answer
from understudy.api.services import Services
from understudy.core import errors
from understudy.ports import Forwarded, ModelError, UnknownModel
from understudy.wire.models import Models as ModelList


class ModelRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, _: Request) -> Response:
        try:
            models = await self._services.models.models()
        except ModelError as error:
            raise errors.Unavailable(error.message) from None
        return answer(ModelList(data=list(models)))

    async def retrieve(self, request: Request) -> Response:
        wanted: str = request.path_params["model"]
        try:
            models = await self._services.models.models()
        except ModelError as error:
            raise errors.Unavailable(error.message) from None
        for model in models:
            if model.id == wanted:
                return answer(model)
        raise errors.no_such_model(wanted)

    async def chat_completions(self, request: Request) -> Response:
        return await self._forward(request, "/chat/completions")

    async def embeddings(self, request: Request) -> Response:
        return await self._forward(request, "/embeddings")

    async def _forward(self, request: Request, path: str) -> Response:
        """The model server's own answer, errors included, as it arrives."""
        body = await read_bytes(request, self._services.body_bytes_max)
        content_type = request.headers.get("content-type", "application/json")
        try:
            forwarded = await self._services.models.forward(path, body, content_type=content_type)
        except UnknownModel as error:
            raise errors.no_such_model(error.model) from None
        except ModelError as error:
            raise errors.Unavailable(error.message) from None
        return StreamingResponse(
            _pieces(forwarded),
            status_code=forwarded.status,
            headers={**forwarded.headers, "content-type": forwarded.content_type},
        )


async def _pieces(forwarded: Forwarded) -> AsyncIterator[bytes]:
    """A model server that breaks off in the middle breaks our answer off too: its status is sent already."""
    try:
        async for piece in forwarded.pieces():
            yield piece
    except ModelError as error:
        raise errors.Unavailable(error.message) from error
    finally:
        await forwarded.close()
