"""`/uploads`."""

from starlette.requests import Request
from starlette.responses import Response

from understudy.api.caller import caller
from understudy.api.decode.body import convert
from understudy.api.form import read_form
from understudy.api.read import path_id, read_body
from understudy.api.respond import answer
from understudy.api.services import Services
from understudy.core import errors, refusals
from understudy.core.files import plain_mime_type
from understudy.core.limits import UPLOAD_SECONDS
from understudy.ports import StoredUpload
from understudy.wire.uploads import AddUploadPart, CompleteUpload, CreateUpload, Upload


class UploadRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, request: Request) -> Response:
        services = self._services
        body = await read_body(services, request, CreateUpload)
        if body.bytes > services.upload_bytes_max:
            raise refusals.large_number("bytes", "integer", services.upload_bytes_max, body.bytes)
        at = services.now()
        upload = Upload(
            id=services.new_id("upload"),
            bytes=body.bytes,
            created_at=at,
            expires_at=at + UPLOAD_SECONDS,
            filename=body.filename,
            purpose=body.purpose,
        )
        stored = StoredUpload(
            upload=upload,
            mime_type=plain_mime_type(body.mime_type),
            file_seconds=None if body.expires_after is None else body.expires_after.seconds,
        )
        await services.store.add_upload(caller(request).project, stored)
        return answer(upload)

    async def add_part(self, request: Request) -> Response:
        services, project = self._services, caller(request).project
        stored = await services.uploads.pending(project, path_id(request, "upload"), to="add a part to")
        upload = stored.upload
        async with services.files.writer() as writer:
            form = await read_form(
                request,
                writer.write,
                file_field="data",
                file_bytes_max=upload.bytes,
                too_large=errors.part_beyond_upload(upload.bytes),
                named=False,
            )
            convert(form.texts, AddUploadPart, lenient=services.lenient)
            part = await services.uploads.add_part(project, upload, writer, form.file.bytes)
        return answer(part)

    async def complete(self, request: Request) -> Response:
        upload_id = path_id(request, "upload")
        body = await read_body(self._services, request, CompleteUpload)
        return answer(await self._services.uploads.complete(caller(request).project, upload_id, body))

    async def cancel(self, request: Request) -> Response:
        upload_id = path_id(request, "upload")
        return answer(await self._services.uploads.cancel(caller(request).project, upload_id))
