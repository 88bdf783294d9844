"""Keys of content that no row names: not yet, or not any more. Whoever names one, or lets go of one, says it here."""

from collections.abc import Iterable, Sequence

from understudy.ports import BlobExpired
from understudy.store.operations import Op, Query

_EXPECT = "INSERT INTO unused_blobs (blob, due, taken) VALUES (?, ?, 0)"
_NAME = "DELETE FROM unused_blobs WHERE blob = ? AND taken = 0 RETURNING blob"
_DROP = "INSERT INTO unused_blobs (blob, due, taken) VALUES (?, 0, 0)"
# Index: unused_blobs_due.
_TAKE = (
    "UPDATE unused_blobs SET taken = 1 WHERE blob IN "
    "(SELECT blob FROM unused_blobs WHERE due <= ? ORDER BY due LIMIT ?) RETURNING blob"
)
_FORGET = "DELETE FROM unused_blobs WHERE blob = ?"


def expect_blob(key: str, until: int) -> Op[None]:
    yield Query(_EXPECT, (key, until))


def name_blob(key: str) -> Op[None]:
    """A row of this transaction names it. Raises `BlobExpired` when its content may be deleted already."""
    if not (yield Query(_NAME, (key,))):
        raise BlobExpired(key)


def drop_blobs(keys: Iterable[str]) -> Op[None]:
    """Rows that named them go with this transaction."""
    for key in keys:
        yield Query(_DROP, (key,))


def unused_blobs(now: int, limit: int) -> Op[Sequence[str]]:
    """Taken, so that no row can name them meanwhile; given again until they are forgotten."""
    return [key for (key,) in (yield Query(_TAKE, (now, limit)))]


def forget_blobs(keys: Sequence[str]) -> Op[None]:
    for key in keys:
        yield Query(_FORGET, (key,))
