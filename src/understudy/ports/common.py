"""What every port speaks of: time, ids, pages, and how rows and engines refuse."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from understudy.core.ids import Kind

Clock: TypeAlias = Callable[[], float]  # the time now, in Unix seconds
NewId: TypeAlias = Callable[[Kind], str]  # a fresh id of a kind, with its prefix


class PageQuery(Struct, frozen=True, kw_only=True):
    """A page, in creation order. At most one of `after` and `before` is usual, both are allowed."""

    limit: int
    descending: bool
    after: str | None = None
    before: str | None = None


class Rows(Struct, frozen=True, kw_only=True):
    """A page's objects as JSON, in the order asked for."""

    ids: Sequence[str]
    bodies: Sequence[bytes]
    has_more: bool


# --- refusals of the store


class StoreRefusal(Exception):
    """The rows forbid it. Nothing was written."""


class Missing(StoreRefusal):
    """No such object for this project. `kind` and `id` say which: a thread that vanished under a message, say."""

    def __init__(self, kind: Kind, id_: str) -> None:
        super().__init__(f"{kind} {id_}")
        self.kind: Kind = kind
        self.id = id_


class ThreadBusy(StoreRefusal):
    """The thread has an active run."""

    def __init__(self, thread_id: str, run_id: str) -> None:
        super().__init__(f"{thread_id} {run_id}")
        self.thread_id = thread_id
        self.run_id = run_id


class ThreadFull(StoreRefusal):
    """The thread holds as many messages as a thread may."""


class NoPlace(StoreRefusal):
    """As many runs are worked on as may be at once, or older ones are in line for the next place."""


class VectorStoreExpired(StoreRefusal):
    """The vector store was not used for as long as it was to be kept. It can be read and deleted, and no more."""

    def __init__(self, store_id: str) -> None:
        super().__init__(store_id)
        self.store_id = store_id


class CodeFilesFull(StoreRefusal):
    """The code interpreter's list of files would be longer than one may be."""


class VectorStoreFull(StoreRefusal):
    """The vector store holds as many files as one may."""


class SeqConflict(StoreRefusal):
    """Somebody else appended first, or took the lease: load the run and decide again."""


class StoreUnavailable(Exception):
    """The engine cannot write now: a full disk, a full queue, a lost connection. Nothing was acknowledged."""
