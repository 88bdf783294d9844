"""Runs in line and at work, by hand: what a test of bounds and turns puts into a store."""

from msgspec.structs import replace

from support.store import NOON, Life, begun_thread, new_run, run
from understudy.core.ids import ProjectId
from understudy.core.run.state import RunFact, RunState
from understudy.ports import Bounds, Lease, NewRun, Share, Store

__all__ = ["begin", "bounds_of", "claim", "in_line", "queue", "share", "working_run"]

FAR = NOON + 9_999.0


def share(project: str = "proj_a", *, upstream: str = "", most: int | None = 2) -> Share:
    """Of a run that may be one of `most`: of its project or, with an upstream, at that."""
    upstream_max = most if upstream else None
    project_max = None if upstream else most
    return Share(project=ProjectId(project), upstream=upstream, project_max=project_max, upstream_max=upstream_max)


def bounds_of(of: Share) -> Bounds:
    upstreams = {} if of.upstream_max is None else {of.upstream: of.upstream_max}
    return Bounds(project_max=of.project_max, upstreams=upstreams)


def working_run(thread_id: str, of: Share, *, owner: str = "w1") -> NewRun:
    """A run that is worked on from its beginning."""
    begun = run(thread_id, status="in_progress", started_at=NOON)
    return replace(
        new_run(thread_id),
        project=of.project,
        state=RunState(run=begun),
        facts=[RunFact("thread.run.in_progress", begun)],
        lease=Lease(owner=owner, until=FAR),
        share=of,
    )


async def begin(store: Store, of: Share) -> Life:
    """On a thread of its own. Raises `NoPlace`."""
    new = working_run(await begun_thread(store, of.project), of)
    return Life(store, new, (await store.add_run(new)).seq)


async def queue(store: Store, of: Share) -> Life:
    """A run in line, on a thread of its own."""
    return await Life.begin(store, await begun_thread(store, of.project), project=of.project, share=of)


async def claim(life: Life, of: Share, *, owner: str = "w1") -> None:
    """Raises `NoPlace`, `SeqConflict`."""
    working = replace(life.state.run, status="in_progress", started_at=NOON + 1)
    fact = RunFact("thread.run.in_progress", working)
    await life.go(replace(life.state, run=working), [fact], lease=Lease(owner=owner, until=FAR), share=of)


async def in_line(store: Store, of: Share | None = None) -> dict[str, bool]:
    """The first run of each line, and whether there is a place for it."""
    found = await store.in_line(NOON, limit=100, bounds=None if of is None else bounds_of(of))
    return {head.run_id: head.has_place for head in found}
