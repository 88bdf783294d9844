"""Uploads: parts that arrive in any order, and the file that they make together. Contract section 6.2."""

from collections.abc import Sequence
from contextlib import aclosing

from msgspec.structs import replace

from understudy.core import errors
from understudy.core.ids import ProjectId
from understudy.core.limits import PARTS_PER_UPLOAD_MAX
from understudy.engine.files import Files
from understudy.ports import (
    Blob,
    BlobExpired,
    BlobRefused,
    BlobWriter,
    Clock,
    FileStore,
    Missing,
    NewId,
    StoredPart,
    StoredUpload,
    UploadEnded,
    UploadFull,
)
from understudy.wire.uploads import CompleteUpload, Upload, UploadPart


class Uploads:
    """Whatever is refused is refused as `errors.ApiError`. `part_bytes_max` is of a part that is not the whole."""

    def __init__(self, store: FileStore, files: Files, clock: Clock, new_id: NewId, *, part_bytes_max: int) -> None:
        self._store = store
        self._files = files
        self._clock = clock
        self._new_id = new_id
        self._part_bytes_max = part_bytes_max

    async def pending(self, project: ProjectId, upload_id: str, *, to: str) -> StoredUpload:
        """The upload, if this can still be done `to` it."""
        stored = await self._store.upload(project, upload_id)
        if stored is None:
            raise errors.no_such("upload", upload_id)
        if stored.upload.status != "pending":
            raise errors.upload_ended(to, stored.upload.status)
        if stored.upload.expires_at <= self._clock():
            raise errors.upload_ended(to, "expired")
        return stored

    async def add_part(self, project: ProjectId, upload: Upload, writer: BlobWriter, bytes_: int) -> UploadPart:
        """What was written, of that length, as a part."""
        # The Python SDK's own chunks are so large that every upload is one part: that one may be as long as it is.
        if bytes_ > self._part_bytes_max and bytes_ != upload.bytes:
            raise errors.part_too_large(self._part_bytes_max)
        blob = await self._files.finish(writer)
        part = UploadPart(id=self._new_id("part"), created_at=int(self._clock()), upload_id=upload.id)
        try:
            # Twice the upload: a part whose answer was lost is sent again.
            await self._store.add_part(
                project,
                StoredPart(part=part, blob=blob),
                parts_max=PARTS_PER_UPLOAD_MAX,
                bytes_max=2 * upload.bytes,
            )
        except (Missing, UploadEnded, UploadFull, BlobExpired) as refusal:
            await self._files.discard(blob)
            raise _told(refusal, upload.id, to="add a part to") from None
        return part

    async def complete(self, project: ProjectId, upload_id: str, body: CompleteUpload) -> Upload:
        stored = await self.pending(project, upload_id, to="complete")
        upload = stored.upload
        parts = _chosen(await self._store.parts(upload_id), body.part_ids, upload_id)
        total = sum(part.blob.bytes for part in parts)
        if total != upload.bytes:
            raise errors.wrong_total(upload.bytes, total)
        if len(parts) == 1:
            return await self._end(project, stored, parts[0].blob, body.md5)
        blob = await self._joined(project, upload_id, parts)
        try:
            return await self._end(project, stored, blob, body.md5)
        except errors.ApiError:
            await self._files.discard(blob)
            raise

    async def _end(self, project: ProjectId, stored: StoredUpload, blob: Blob, md5: str | None) -> Upload:
        upload = stored.upload
        if md5 is not None and md5.lower() != blob.md5:
            raise errors.wrong_md5(blob.md5)
        file = self._files.new(
            blob,
            filename=upload.filename,
            purpose=upload.purpose,
            mime_type=stored.mime_type,
            seconds=stored.file_seconds,
        )
        completed = replace(upload, status="completed", file=file.file)
        try:
            await self._store.end_upload(project, completed, file)
        except (Missing, UploadEnded, BlobExpired) as refusal:
            raise _told(refusal, upload.id, to="complete") from None
        return completed

    async def cancel(self, project: ProjectId, upload_id: str) -> Upload:
        stored = await self.pending(project, upload_id, to="cancel")
        cancelled = replace(stored.upload, status="cancelled")
        try:
            await self._store.end_upload(project, cancelled, None)
        except (Missing, UploadEnded, BlobExpired) as refusal:
            raise _told(refusal, upload_id, to="cancel") from None
        return cancelled

    async def _joined(self, project: ProjectId, upload_id: str, parts: Sequence[StoredPart]) -> Blob:
        async with self._files.writer() as writer:
            for part in parts:
                try:
                    async with aclosing(self._files.content(part.blob.key)) as pieces:
                        async for piece in pieces:
                            await writer.write(piece)
                except KeyError:
                    await self.pending(project, upload_id, to="complete")  # or else somebody has ended it meanwhile
                    raise BlobRefused("The content of a part has gone.") from None
            return await self._files.finish(writer)


def _chosen(stored: Sequence[StoredPart], part_ids: Sequence[str], upload_id: str) -> Sequence[StoredPart]:
    """The parts in the order asked for: each of this upload, and none twice."""
    by_id = {one.part.id: one for one in stored}
    seen: set[str] = set()
    for number, part_id in enumerate(part_ids):
        if part_id not in by_id:
            raise errors.no_such_part(part_id, upload_id)
        if part_id in seen:
            raise errors.part_twice(number, part_id)
        seen.add(part_id)
    return [by_id[part_id] for part_id in part_ids]


def _told(refusal: Missing | UploadEnded | UploadFull | BlobExpired, upload_id: str, *, to: str) -> Exception:
    match refusal:
        case Missing():
            return errors.no_such("upload", upload_id)
        case UploadEnded(status=status):
            return errors.upload_ended(to, status)
        case UploadFull():
            return errors.upload_full()
        case BlobExpired():
            return BlobRefused("The content took too long to become durable.")
