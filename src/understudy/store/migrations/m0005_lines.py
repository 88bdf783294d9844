"""Schema version 5: whose a run is and which model server it is asked of, for fair turns and bounds; what all share.

The indexes hold active runs only, and `runs_of_upstream` none where no model server has a bound. `run_bounds` has a row
for each bound, to be locked by whoever counts.
"""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def lines(d: Dialect) -> Sequence[str]:
    active = "status IN ('queued', 'in_progress', 'cancelling') AND waiting = 0"
    return [
        "ALTER TABLE runs ADD COLUMN project TEXT NOT NULL DEFAULT ''",
        # Of a run whose model server has a bound; else empty.
        "ALTER TABLE runs ADD COLUMN upstream TEXT NOT NULL DEFAULT ''",
        # Nobody asks for those of runs that have ended.
        "UPDATE runs SET project = (SELECT t.project FROM threads t WHERE t.id = runs.thread_id) "
        "WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling')",
        "DROP INDEX runs_claimable",
        f"CREATE INDEX runs_in_line ON runs (status, project, upstream, seq) WHERE {active}",
        f"CREATE INDEX runs_of_upstream ON runs (upstream, status, seq) WHERE upstream <> '' AND {active}",
        f"CREATE TABLE run_bounds (name TEXT PRIMARY KEY) {d.key_table_options}",
        # What is true of the database and of everything beside it, by name.
        f"CREATE TABLE installation (name TEXT PRIMARY KEY, value TEXT NOT NULL) {d.table_options}",
    ]
