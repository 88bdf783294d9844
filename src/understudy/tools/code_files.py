"""Files between clients and the sandbox: which ones a run's code finds under /mnt/data, and what it wrote there."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from understudy.core.attachments import code_files
from understudy.core.files import base_name
from understudy.core.ids import ProjectId
from understudy.core.limits import CODE_FILES_MAX, CODE_MADE_BYTES_MAX, CODE_MADE_FILES_MAX, CODE_NAME_BYTES_MAX
from understudy.core.run.state import MadeFile, RunSettings
from understudy.ports import (
    BlobRefused,
    Blobs,
    Clock,
    FileMaker,
    SandboxRefusal,
    SandboxSession,
    Store,
    StoredFile,
    StoreUnavailable,
)
from understudy.wire.threads import Thread
from understudy.wire.tools import ToolResources

log = structlog.get_logger()

PURPOSE: Final = "assistants_output"
_NOT_FOR_USERS: Final = ("__pycache__", ".")  # what names of files and folders begin with that Python makes for itself


class Placed(Struct, frozen=True):
    """A client's file, and its name under /mnt/data."""

    name: str
    stored: StoredFile


class Made(Struct, frozen=True):
    """What code wrote: the files that clients have now, and how many they do not."""

    files: Sequence[MadeFile] = ()
    left_out: int = 0


class CodeFiles:
    def __init__(self, store: Store, blobs: Blobs, maker: FileMaker, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._maker = maker
        self._clock = clock

    async def of_run(self, project: ProjectId, thread_id: str, settings: RunSettings) -> Sequence[Placed]:
        """The assistant's, as they were when the run began, then the thread's as they are now. Deleted ones are left
        out."""
        body = await self._store.body("thread", project, None, thread_id)
        of_thread = ToolResources() if body is None else msgspec.json.decode(body, type=Thread).tool_resources
        ids = [
            *code_files(settings.assistant_resources)[:CODE_FILES_MAX],
            # Of the thread's the newest: messages bring more and more of them.
            *code_files(of_thread)[-CODE_FILES_MAX:],
        ]
        now = int(self._clock())
        found = [await self._store.file(project, file_id, now) for file_id in dict.fromkeys(ids)]
        return named(file for file in found if file is not None)

    async def put(self, session: SandboxSession, placed: Placed) -> str | None:
        """Copies a file into the sandbox; a sentence that says why not."""
        try:
            async with self._blobs.local(placed.stored.blob) as path:
                await session.put(placed.name, path)
        except SandboxRefusal as refusal:
            return f"The file {placed.name} could not be put into /mnt/data: {refusal}"
        except (KeyError, BlobRefused):
            log.warning("code_file_not_read", file_id=placed.stored.file.id)
            return f"The file {placed.name} could not be put into /mnt/data: it could not be read."
        return None

    async def keep_picture(self, project: ProjectId, png: bytes, number: int) -> str | None:
        """The id of the picture's file; `None` where there is no room for it."""
        try:
            file = await self._maker.create(
                project, _once(png), filename=f"image-{number}.png", purpose=PURPOSE, mime_type="image/png"
            )
        except BlobRefused as error:
            log.warning("picture_not_kept", reason=str(error))
            return None
        return file.id

    async def keep_changes(self, project: ProjectId, session: SandboxSession) -> Made:
        """What the code wrote since this was last asked, as files of the project. Broken off, it leaves none."""
        changes = await session.changes()
        made: list[MadeFile] = []
        left_out, room = changes.left_out, CODE_MADE_BYTES_MAX
        try:
            for file in changes.files:
                if _is_hidden(file.name):
                    continue
                if len(made) >= CODE_MADE_FILES_MAX or file.size_bytes > room:
                    left_out += 1
                    continue
                file_id = await self._keep(project, session, file.name)
                if file_id is None:
                    left_out += 1
                    continue
                room -= file.size_bytes
                made.append(MadeFile(file.name, file_id))
        except BaseException:
            await asyncio.shield(self.unmake(project, [file.file_id for file in made]))
            raise
        return Made(made, left_out)

    async def unmake(self, project: ProjectId, file_ids: Sequence[str]) -> None:
        """Deletes files that were made and that nobody will be shown."""
        try:
            for file_id in file_ids:
                await self._store.delete_file(project, file_id)
        except StoreUnavailable as error:
            log.warning("made_files_not_deleted", reason=str(error))

    async def _keep(self, project: ProjectId, session: SandboxSession, name: str) -> str | None:
        try:
            file = await self._maker.create(project, session.get(name), filename=base_name(name), purpose=PURPOSE)
        except (SandboxRefusal, BlobRefused) as error:
            log.warning("made_file_not_kept", reason=str(error))
            return None
        return file.id


def named(files: Iterable[StoredFile]) -> Sequence[Placed]:
    """Each with a name of its own: of two files of one name the second gets a number."""
    placed: dict[str, Placed] = {}
    for stored in files:
        name = _distinct(_plain(stored.file.filename), placed)
        placed[name] = Placed(name, stored)
    return list(placed.values())


def _plain(filename: str) -> str:
    """A name that any file system takes, whatever the client called its file."""
    name = "".join(character if character.isprintable() else "_" for character in base_name(filename))
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > CODE_NAME_BYTES_MAX // 4:
        stem, dot, ending = name, "", ""
    room = CODE_NAME_BYTES_MAX - len(ending.encode())
    return (stem.encode()[:room].decode("utf-8", "ignore") + dot + ending).strip()


def _distinct(name: str, taken: Iterable[str]) -> str:
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    names, distinct, number = set(taken), name, 2
    while distinct in names:
        distinct, number = f"{stem}_{number}{dot}{ending}", number + 1
    return distinct


def _is_hidden(name: str) -> bool:
    return any(part.startswith(_NOT_FOR_USERS) for part in name.split("/"))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
