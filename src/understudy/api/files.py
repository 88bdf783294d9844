"""`/files`."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from understudy.api.caller import caller
from understudy.api.decode.body import convert
from understudy.api.form import read_form
from understudy.api.lists import answer_rows
from understudy.api.read import path_id, read_query
from understudy.api.respond import answer
from understudy.api.services import Services
from understudy.core import errors
from understudy.core.files import attachment, served_type
from understudy.ports import StoredFile
from understudy.wire.base import Deleted
from understudy.wire.files import CreateFile, ListFilesQuery, StoredPurpose

NOT_DOWNLOADED: Final[Sequence[StoredPurpose]] = ("assistants", "user_data")  # where the operator wants it so


class FileRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        services = self._services
        async with services.files.writer() as writer:
            form = await read_form(
                request,
                writer.write,
                file_field="file",
                file_bytes_max=services.file_bytes_max,
                too_large=errors.file_too_large(services.file_bytes_max),
                named=True,
            )
            body = convert(form.texts, CreateFile, lenient=services.lenient)
            file = await services.files.keep(
                caller(request).project,
                writer,
                filename=form.file.filename,
                purpose=body.purpose,
                mime_type=form.file.mime_type,
                seconds=None if body.expires_after is None else body.expires_after.seconds,
            )
        return answer(file)

    async def list(self, request: Request) -> Response:
        query = read_query(request, ListFilesQuery)
        store, project, now = self._services.store, caller(request).project, self._services.now()
        return await answer_rows(query, lambda page: store.files_page(project, page, purpose=query.purpose, now=now))

    async def retrieve(self, request: Request) -> Response:
        return answer((await self._file(request)).file)

    async def delete(self, request: Request) -> Response:
        file = (await self._file(request)).file
        if not await self._services.store.delete_file(caller(request).project, file.id):
            raise errors.no_such_file(file.id)
        return answer(Deleted(id=file.id, object="file"))

    async def content(self, request: Request) -> Response:
        stored = await self._file(request)
        file = stored.file
        if file.purpose in self._services.download_refused:
            raise errors.download_refused(file.purpose)
        pieces = self._services.files.content(stored.blob)
        try:
            first = await anext(pieces, b"")
        except KeyError:  # deleted meanwhile
            raise errors.no_such_file(file.id) from None
        if request.method == "HEAD":
            await pieces.aclose()
            return Response(headers=_headers(stored))
        return Content(first, pieces, _headers(stored))

    async def _file(self, request: Request) -> StoredFile:
        file_id = path_id(request, "file")
        stored = await self._services.store.file(caller(request).project, file_id, self._services.now())
        if stored is None:
            raise errors.no_such_file(file_id)
        return stored


def _headers(stored: StoredFile) -> dict[str, str]:
    """Whoever opens the address in a browser gets a file to keep, and never a page of this server's."""
    file = stored.file
    return {
        "content-length": str(file.bytes),
        "content-type": served_type(file.filename, stored.mime_type),
        "content-disposition": attachment(file.filename),
        "x-content-type-options": "nosniff",
    }


class Content(Response):
    """Content as it is read; as fast as its reader takes it, and no further once the reader has left."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for piece in rest:
                if await request.is_disconnected():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
