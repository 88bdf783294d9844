"""The lines of queued runs in front of the workers, and the bounds of how many runs are worked on at once.

A run is worked on while it is in progress or being cancelled: its status is the place that it holds, so that no place
can be left behind. A line is what one project asks of one model server with a bound, or of all that have none.
"""
# ruff: noqa: S608 - only constants of this package are put into SQL

from collections.abc import Sequence
from itertools import product
from typing import Final

from understudy.core.ids import ProjectId, RunId
from understudy.ports import Bounds, Line, NoPlace, RunInLine, Share
from understudy.store.operations import Op, Query

# In the words of the indexes runs_in_line and runs_of_upstream: SQLite takes an index with a condition for no others.
_ACTIVE: Final = "r.status IN ('queued', 'in_progress', 'cancelling') AND r.waiting = 0"
_QUEUED: Final = f"r.status = 'queued' AND {_ACTIVE}"
_WORKED_ON: Final = f"r.status IN ('in_progress', 'cancelling') AND {_ACTIVE}"
_AT_UPSTREAM: Final = "r.upstream = ? AND r.upstream <> ''"

# Index: runs_in_line.
_COUNT_OF_PROJECT: Final = f"SELECT COUNT(*) FROM runs r WHERE r.project = {{}} AND {_WORKED_ON}"
_BEFORE_IN_PROJECT: Final = f"SELECT 1 FROM runs r WHERE r.project = ? AND {_QUEUED} AND r.seq < ? LIMIT 1"
# Index: runs_of_upstream.
_COUNT_AT_UPSTREAM: Final = f"SELECT COUNT(*) FROM runs r WHERE {_AT_UPSTREAM} AND {_WORKED_ON}"
_BEFORE_AT_UPSTREAM: Final = f"SELECT 1 FROM runs r WHERE {_AT_UPSTREAM} AND {_QUEUED} AND r.seq < ? LIMIT 1"

_BOUND: Final = "SELECT name FROM run_bounds WHERE name = ?"
_ADD_BOUND: Final = "INSERT INTO run_bounds (name) VALUES (?) ON CONFLICT DO NOTHING"
_OWN: Final = "UPDATE runs SET project = ?, upstream = ? WHERE seq = ? AND (project <> ? OR upstream <> ?)"

# Index: runs_in_line; the runs of live leases are among those looked at.
_LOST: Final = f"SELECT r.id FROM runs r WHERE {_WORKED_ON} AND (r.lease_until IS NULL OR r.lease_until <= ?) LIMIT ?"


def _in_line(*, behind: bool, counted: bool) -> str:
    """The oldest run of each line, line by line: a step in the index for each, however long it is."""

    def first_of_line(condition: str) -> str:
        return (
            f"SELECT r.seq FROM runs r WHERE {_QUEUED} AND (r.lease_until IS NULL OR r.lease_until <= ?) {condition} "
            "ORDER BY r.project, r.upstream, r.seq LIMIT 1"
        )

    # A CTE is read in the order in which it was made: that of the lines, as far as the limit goes.
    count = f"({_COUNT_OF_PROJECT.format('h.project')})" if counted else "0"
    return (
        "WITH RECURSIVE heads (id, seq, project, upstream) AS (SELECT q.id, q.seq, q.project, q.upstream FROM runs q "
        f"WHERE q.seq = ({first_of_line('AND (r.project, r.upstream) > (?, ?)' * behind)}) "
        "UNION ALL SELECT q.id, q.seq, q.project, q.upstream FROM heads p JOIN runs q "
        f"ON q.seq = ({first_of_line('AND (r.project, r.upstream) > (p.project, p.upstream)')})) "
        f"SELECT h.id, h.seq, h.project, h.upstream, {count} FROM heads h LIMIT ?"
    )


_IN_LINE: Final = {
    (behind, counted): _in_line(behind=behind, counted=counted) for behind, counted in product((False, True), repeat=2)
}


def in_line(now: float, bounds: Bounds, behind: Line | None, limit: int) -> Op[Sequence[RunInLine]]:
    most = bounds.project_max
    sql = _IN_LINE[behind is not None, most is not None]
    start = (now,) if behind is None else (now, *behind)
    full = yield from _full_upstreams(bounds)
    rows = yield Query(sql, (*start, now, limit))
    return [
        RunInLine(
            run_id=RunId(run_id),
            seq=seq,
            line=Line(ProjectId(project), upstream),
            has_place=(most is None or worked_on < most) and upstream not in full,
        )
        for run_id, seq, project, upstream, worked_on in rows
    ]


def _full_upstreams(bounds: Bounds) -> Op[set[str]]:
    full = set()
    for upstream, most in bounds.upstreams.items():
        if (yield Query(_COUNT_AT_UPSTREAM, (upstream,)))[0][0] >= most:
            full.add(upstream)
    return full


def lost(now: float, limit: int) -> Op[Sequence[RunId]]:
    rows = yield Query(_LOST, (now, limit))
    return [RunId(row[0]) for row in rows]


def hold_place(share: Share, seq: int, *, in_turn: bool) -> Op[None]:
    """For the run with this number, whose row says already that it is worked on. Raises `NoPlace`.

    `in_turn`: it has been in line. One that has not is refused while older ones are.

    To be the last of its transaction. Who counts against a bound holds that bound's row, and the project's before the
    upstream's: so two who count never both take the last place, nor wait for each other.
    """
    of = (share.project, share.upstream)
    yield Query(_OWN, (*of, seq, *of))
    if share.project_max is not None:
        yield from _lock_bound(f"project {share.project}")
        before = () if in_turn else (yield Query(_BEFORE_IN_PROJECT, (share.project, seq)))
        rows = yield Query(_COUNT_OF_PROJECT.format("?"), (share.project,))
        if before or rows[0][0] > share.project_max:
            raise NoPlace(f"project {share.project}")
    if share.upstream_max is not None:
        yield from _lock_bound(f"upstream {share.upstream}")
        before = () if in_turn else (yield Query(_BEFORE_AT_UPSTREAM, (share.upstream, seq)))
        rows = yield Query(_COUNT_AT_UPSTREAM, (share.upstream,))
        if before or rows[0][0] > share.upstream_max:
            raise NoPlace(f"upstream {share.upstream}")


def _lock_bound(name: str) -> Op[None]:
    if not (yield Query(_BOUND, (name,), locks=True)):
        yield Query(_ADD_BOUND, (name,))
        yield Query(_BOUND, (name,), locks=True)
