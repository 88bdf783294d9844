"""Where the content of files lies: it follows from the settings."""

from pathlib import Path

from understudy.blobs.local import open_local_blobs
from understudy.ports import BlobRefused, Blobs


async def open_blobs(url: str | None, directory: Path) -> Blobs:
    """A bucket, or without a URL the directory itself. Raises `BlobRefused`."""
    if url is None:
        return await open_local_blobs(directory)
    try:
        from understudy.blobs.s3 import open_s3_blobs
    except ImportError as error:
        raise BlobRefused("A bucket needs its client: pip install 'understudy[scale]'") from error
    return await open_s3_blobs(url, directory / "staging")
