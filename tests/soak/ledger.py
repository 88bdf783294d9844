"""What must be true of a database when all is over, whatever has been done to its servers."""

import json
import sqlite3
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from support.end_state import ACTIVE, log_faults, run_faults
from understudy.core.limits import FACTS_PER_RUN_MAX

__all__ = ["active_runs", "growth_bytes_per_minute", "violations"]


def active_runs(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found: int = connection.execute(f"SELECT count(*) FROM runs WHERE status IN {ACTIVE}").fetchone()[0]
        return found


def violations(database: Path, threads: set[str], counts: Counter[str]) -> Iterator[str]:
    """`threads`: those that were acknowledged and not deleted. `counts` gets how many runs ended how."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        kept = {id_ for (id_,) in connection.execute("SELECT id FROM threads")}
        if lost := threads - kept:
            yield f"{len(lost)} acknowledged threads are gone: {sorted(lost)[:3]}"
        for run_id, seq, status, thread_id, owner, last_fact, body in connection.execute(
            "SELECT id, seq, status, thread_id, lease_owner, last_fact, body FROM runs"
        ):
            counts[f"run {status}"] += 1
            run = json.loads(body)
            if owner is not None or status != run["status"] or run["usage"] is None:
                yield f"{run_id} is {status} and {run['status']}, held by {owner}, with usage {run['usage']}"
            steps = _bodies(connection, "SELECT body FROM steps WHERE run_id = ? ORDER BY seq", run_id)
            messages = _bodies(
                connection,
                "SELECT body FROM messages WHERE thread_id = ? AND run_id = ? ORDER BY seq",
                thread_id,
                run_id,
            )
            yield from (f"{run_id}: {fault}" for fault in run_faults(steps, messages))
            first = seq * FACTS_PER_RUN_MAX
            facts = connection.execute(
                "SELECT place - ?, events, body FROM facts WHERE place > ? AND place < ? ORDER BY place",
                (first, first, first + FACTS_PER_RUN_MAX),
            )
            yield from (f"{run_id}: {fault}" for fault in log_faults(facts.fetchall(), last_fact))


def _bodies(connection: sqlite3.Connection, sql: str, *ids: str) -> list[dict[str, Any]]:
    return [json.loads(body) for (body,) in connection.execute(sql, ids)]


def growth_bytes_per_minute(resident: Sequence[tuple[float, int]]) -> float:
    """The slope of the second half: the first one fills caches."""
    later = resident[len(resident) // 2 :]
    if len(later) < 2:
        return 0.0
    return statistics.linear_regression([at for at, _ in later], [size for _, size in later]).slope * 60
