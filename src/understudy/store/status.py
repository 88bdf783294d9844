"""What a database holds, looked at without changing it: `understudy db status`."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from understudy.store.migrations import Schema
from understudy.store.operations import Op, Query
from understudy.store.scope import ACTIVE
from understudy.store.sides import Side, row_counts, schema_of

# What operators count, by the tables that hold it.
KINDS: Final[Mapping[str, str]] = {
    "api_keys": "API keys",
    "assistants": "assistants",
    "threads": "threads",
    "messages": "messages",
    "runs": "runs",
    "steps": "run steps",
    "facts": "events of runs",
    "files": "files",
    "uploads": "uploads",
    "vector_stores": "vector stores",
    "store_files": "files in vector stores",
    "chunks": "chunks of these",
}
# Index: runs_expiring.
_ACTIVE = f"SELECT COUNT(*) FROM runs WHERE status IN {ACTIVE}"  # noqa: S608 - a constant of ours


class Status(Struct, frozen=True, kw_only=True):
    """`counts` are rows by table, of the tables that are there yet; `unbuilt` are indexes that are not."""

    schema: Schema
    unbuilt: Sequence[str]
    counts: Mapping[str, int]
    active_runs: int
    unfinished_copy: bool


async def look(side: Side) -> Status:
    """Raises `StoreUnavailable`."""
    async with side.snapshot():
        names = await side.names()
        counts = await side.ask(row_counts(name for name in KINDS if name in names))
        unfinished = await side.ask(row_counts(name for name in names if name == "copied"))
        return Status(
            schema=await schema_of(side),
            unbuilt=await side.unbuilt(),
            counts=counts,
            active_runs=await side.ask(active_runs()) if "runs" in counts else 0,
            unfinished_copy=any(unfinished.values()),
        )


def active_runs() -> Op[int]:
    """Those that have not ended; some of them wait for the run before them on their thread."""
    rows = yield Query(_ACTIVE)
    return int(rows[0][0])
