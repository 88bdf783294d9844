"""Content in a bucket of any server that speaks S3. It passes through a directory of this machine on its way in.

So nothing half-written is ever visible, a client that breaks off costs the bucket nothing, and memory stays bounded
however large a file is. Endpoint, region and keys come from the usual variables: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, NotSupportedError
from obstore.store import S3Store

from understudy.blobs.local import PLACE, LocalBlobs, LocalWriter, open_local_blobs
from understudy.core.limits import (
    BLOB_PIECE_BYTES,
    BUCKET_ANSWER_SECONDS,
    BUCKET_CONNECT_SECONDS,
    BUCKET_RETRIES_MAX,
    BUCKET_RETRY_SECONDS_MAX,
    BUCKET_SILENCE_SECONDS,
    STAGING_KEEP_SECONDS,
)
from understudy.ports import Blob, BlobRefused

if TYPE_CHECKING:
    from obstore.store import S3Config

log = structlog.get_logger()


async def open_s3_blobs(url: str, staging: Path, config: Mapping[str, str] | None = None) -> "S3Blobs":
    """The bucket and prefix of `s3://bucket/prefix`. `staging` holds a directory for each process.

    `config` goes before the variables, under their names in lower case. Raises `BlobRefused`.
    """
    parts = urlsplit(url)
    try:
        given = cast("S3Config", dict(config or {}))
        endpoint = (config or {}).get("aws_endpoint") or os.environ.get("AWS_ENDPOINT_URL", "")
        bucket = S3Store.from_url(
            f"s3://{parts.netloc}/{parts.path.strip('/')}",
            config=given,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=BUCKET_CONNECT_SECONDS),
                "read_timeout": timedelta(seconds=BUCKET_SILENCE_SECONDS),
                "timeout": timedelta(seconds=BUCKET_ANSWER_SECONDS),
            },
            # By itself it would try ten times, for three minutes where nothing answers: clients have left by then.
            retry_config={
                "max_retries": BUCKET_RETRIES_MAX,
                "backoff": {"max_backoff": timedelta(seconds=BUCKET_RETRY_SECONDS_MAX)},
            },
        )
        directory = await asyncio.to_thread(_own_directory, staging)
    except (BaseError, OSError) as error:
        raise BlobRefused(f"The bucket cannot be used: {error}") from error
    return S3Blobs(bucket, await open_local_blobs(directory), directory)


def _own_directory(staging: Path) -> Path:
    """A fresh one. Those of processes that were killed long ago go."""
    staging.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in staging.iterdir():
        if left.stat().st_mtime < time.time() - STAGING_KEEP_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=staging))


class S3Blobs:
    """`ports.Blobs` on one bucket, which all processes share."""

    def __init__(self, bucket: S3Store, staging: LocalBlobs, directory: Path) -> None:
        self._bucket = bucket
        self._staging = staging
        self._directory = directory

    @asynccontextmanager
    async def writer(self, key: str | None = None) -> AsyncIterator["S3Writer"]:
        async with self._staging.writer(key) as staged:
            writer = S3Writer(self._bucket, self._staging, staged)
            try:
                yield writer
            finally:
                # Shielded, so that a second cancellation leaves neither a file nor an object behind.
                await asyncio.shield(writer.discard())

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        with _refusals(key):
            answer = await obstore.get_async(self._bucket, _checked(key))
            async for piece in answer.stream(min_chunk_size=BLOB_PIECE_BYTES):
                held = memoryview(piece)
                for start in range(0, len(held), BLOB_PIECE_BYTES):
                    yield bytes(held[start : start + BLOB_PIECE_BYTES])

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        async with self._staging.writer() as staged:
            async for piece in self.read(key):
                await staged.write(piece)
            copy = await staged.finish()
        try:
            async with self._staging.local(copy.key) as path:
                yield path
        finally:
            await asyncio.shield(self._staging.delete(copy.key))

    async def delete(self, key: str) -> None:
        with _refusals(key):
            await _delete(self._bucket, _checked(key))

    async def place(self) -> str | None:
        try:
            with _refusals(PLACE):
                answer = await obstore.get_async(self._bucket, PLACE)
                return bytes(await answer.bytes_async()).decode("ascii", "replace").strip()
        except KeyError:
            return None

    async def name_place(self, name: str) -> str:
        written = f"{name}\n".encode("ascii")
        with _refusals(PLACE), contextlib.suppress(AlreadyExistsError):
            try:
                # Of two processes that name it at once, the first one's name stays.
                await obstore.put_async(self._bucket, PLACE, written, mode="create")
            except (GenericError, NotSupportedError):  # a server that does not know the condition
                await obstore.put_async(self._bucket, PLACE, written)
        return await self.place() or name

    async def check(self) -> None:
        async with self.writer() as writer:
            await writer.write(b"?")
            await writer.finish()
            writer.take_back()

    async def close(self) -> None:
        await self._staging.close()
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)


class S3Writer:
    """`ports.BlobWriter`: first a file of this machine, then an object under the same key."""

    def __init__(self, bucket: S3Store, staging: LocalBlobs, staged: LocalWriter) -> None:
        self.key = staged.key
        self._bucket = bucket
        self._staging = staging
        self._staged = staged
        self._sending = False
        self._handed_over = False

    async def write(self, piece: bytes) -> None:
        await self._staged.write(piece)

    async def finish(self) -> Blob:
        blob = await self._staged.finish()
        self._sending = True
        with _refusals(self.key):
            async with self._staging.local(blob.key) as path:
                await obstore.put_async(self._bucket, self.key, path)
        self._handed_over = True
        return blob

    def take_back(self) -> None:
        """Nobody is to have what was finished."""
        self._handed_over = False

    async def discard(self) -> None:
        """What was staged goes, and what was sent unless somebody was given it."""
        if not self._sending:
            return
        with contextlib.suppress(BlobRefused):  # the next start sweeps what cannot be removed now
            await self._staging.delete(self.key)
        if not self._handed_over:
            try:
                await _delete(self._bucket, self.key)
            except (BaseError, OSError) as error:
                log.warning("blob_left_in_bucket", key=self.key, reason=str(error))


async def _delete(bucket: S3Store, key: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        await obstore.delete_async(bucket, key)


def _checked(key: str) -> str:
    """Raises `KeyError` for what is no key of ours."""
    if len(key) != 32 or not set(key) <= set("0123456789abcdef"):
        raise KeyError(key)
    return key


@contextlib.contextmanager
def _refusals(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise KeyError(key) from None
    except (BaseError, OSError) as error:
        raise BlobRefused(f"The bucket of files cannot be used: {str(error).splitlines()[0]}") from error
