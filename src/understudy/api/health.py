"""`/healthz`: the process answers. `/readyz`: it can also read and write. Neither needs a key."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from understudy.api.services import Services
from understudy.core import errors
from understudy.ports import BlobRefused, StoreUnavailable

_encode = msgspec.json.Encoder().encode


class Health:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def alive(self, _: Request) -> Response:
        return Response(_encode({"status": "ok"}), media_type="application/json")

    async def ready(self, _: Request) -> Response:
        try:
            await self._services.store.check()
            await self._services.files.check()
        except (StoreUnavailable, BlobRefused) as error:
            raise errors.Unavailable(f"The store is not available: {error}") from None
        return Response(_encode({"status": "ready"}), media_type="application/json")
