"""Image files of a thread as a model server can be shown them."""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import aclosing

import structlog

from understudy.core.chat.context import Window
from understudy.core.files import image_type
from understudy.core.ids import ProjectId
from understudy.core.limits import IMAGE_BYTES_MAX, IMAGES_BYTES_MAX
from understudy.engine.files import Files
from understudy.ports import BlobRefused, Clock, FileStore, StoredFile
from understudy.wire.messages import ImageFilePart

log = structlog.get_logger()


class Images:
    """An image that cannot be shown (deleted, too large, no image at all) is left out: the prompt says so in words."""

    def __init__(self, store: FileStore, files: Files, clock: Clock) -> None:
        self._store = store
        self._files = files
        self._clock = clock

    async def load(self, project: ProjectId, window: Window) -> Mapping[str, str]:
        """Data URLs by file id, of the newest images that are together no larger than a request may be."""
        urls: dict[str, str] = {}
        room = IMAGES_BYTES_MAX
        for file_id, times in Counter(_shown(window)).items():
            stored = await self._store.file(project, file_id, int(self._clock()))
            # An image that is shown again is sent again.
            fits = stored is not None and stored.file.bytes <= IMAGE_BYTES_MAX and stored.file.bytes * times <= room
            url = await self._url(stored) if stored is not None and fits else None
            if stored is None or url is None:
                log.info("image_left_out", file_id=file_id, deleted=stored is None, too_large=not fits)
                continue
            urls[file_id] = url
            room -= stored.file.bytes * times
        return urls

    async def _url(self, stored: StoredFile) -> str | None:
        """`None` for content that is no image, or is gone."""
        content = bytearray()
        try:
            async with aclosing(self._files.content(stored.blob)) as pieces:
                async for piece in pieces:
                    if not content and image_type(piece) is None:
                        return None
                    content += piece
        except (KeyError, BlobRefused):
            return None
        type_ = image_type(content)
        if type_ is None:
            return None
        encoded = await asyncio.to_thread(base64.b64encode, content)
        return f"data:{type_};base64,{encoded.decode()}"


def _shown(window: Window) -> Iterator[str]:
    """The files of users' images, newest first: Chat Completions takes images from users only."""
    for entry in (*reversed(window.recent), *reversed(window.head)):
        if entry.message.role == "user":
            for part in entry.message.content:
                if isinstance(part, ImageFilePart):
                    yield part.image_file.file_id
