"""That a process keeps the content of files where the other processes on its database do."""

from typing import Final

from understudy.ports import Blobs, NewId, Store

__all__ = ["FilesElsewhere", "require_place"]

_NAME: Final = "place of files"


class FilesElsewhere(Exception):
    """The place of this process's files is not that of its database's. Its text is one sentence for the operator."""


async def require_place(store: Store, blobs: Blobs, new_id: NewId, *, where: str) -> None:
    """Raises `FilesElsewhere`. `where` is what the operator calls the place of this process's files.

    Place and database each keep the place's name. A database that knows of none takes that of the place: it is new,
    from before there were names, or was restored.
    """
    known, here = await store.look_up(_NAME), await blobs.place()
    if known is None:
        # The place first: a process that dies in between is one that has only named it.
        known = await store.kept(_NAME, here or await blobs.name_place(new_id("request")))
        here = here or await blobs.place()
    if here != known:
        raise FilesElsewhere(
            f"The content of this database's files lies elsewhere, not in {where}: set files_url to its bucket or "
            "share its directory; if it was moved here, move its file .place along."
        )
