"""Schema version 1.

`seq` numbers a table's rows in the order of insertion and is the order of every list. `body` is the object as a GET
answers it; the columns beside it are only what queries need. No foreign keys: every write holds its parent's row, and
a thread's end deletes all that is under it. What a run writes, it writes three times within a second or so: each index,
and each column that stands in one, costs a page of the disk every time.
"""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def first(d: Dialect) -> Sequence[str]:
    tables = {
        "meta": f"name TEXT PRIMARY KEY, value {d.integer} NOT NULL",
        "api_keys": f"""seq {d.sequence}, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, hint TEXT NOT NULL,
            digest {d.bytes} NOT NULL UNIQUE, project TEXT NOT NULL, created_at {d.integer} NOT NULL,
            revoked_at {d.integer}""",
        "assistants": f"""seq {d.sequence}, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, given {d.bytes} NOT NULL,
            body {d.bytes} NOT NULL""",
        # `messages` is how many the thread holds.
        "threads": f"""seq {d.order}, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL,
            messages {d.integer} NOT NULL, body {d.bytes} NOT NULL""",
        # `behind` is the number of the thread's newest run when a message was added to the busy thread: that run and
        # those before it do not read it. When they have ended, `behind` is cleared and `turn` is the number of the
        # thread's newest message at that moment: models read the message behind that one, while lists keep the order
        # in which messages were added. `turn` is always that of a message that exists.
        "messages": f"""seq {d.order}, id TEXT NOT NULL UNIQUE, thread_id TEXT NOT NULL, run_id TEXT,
            status TEXT NOT NULL, tokens {d.integer} NOT NULL, body {d.bytes} NOT NULL, behind {d.integer},
            turn {d.integer}""",
        # `last_fact` is the number of the run's last fact and guards every append. `waiting` is 1 until the runs
        # before it have ended. `ended_at` is there from the run's end until its facts are deleted.
        "runs": f"""seq {d.order}, id TEXT NOT NULL UNIQUE, thread_id TEXT NOT NULL,
            assistant_id TEXT NOT NULL, status TEXT NOT NULL, waiting {d.integer} NOT NULL, expires_at {d.integer},
            ended_at {d.integer}, lease_owner TEXT, lease_until {d.real}, last_fact {d.integer} NOT NULL,
            settings {d.bytes} NOT NULL, progress {d.bytes} NOT NULL, body {d.bytes} NOT NULL""",
        # Asked for by their run, which has few of them.
        "steps": f"""seq {d.order}, id TEXT NOT NULL, run_id TEXT NOT NULL, status TEXT NOT NULL,
            body {d.bytes} NOT NULL""",
        # One row for facts that follow each other and say the same: `store/facts.py`.
        "facts": f"place {d.integer} PRIMARY KEY, events TEXT NOT NULL, body {d.bytes} NOT NULL",
    }
    # What threads are looked up by: a thread's metadata, and the assistants that ran on it.
    key_tables = {
        "thread_metadata": f"""project TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
            thread_seq {d.integer} NOT NULL, PRIMARY KEY (project, name, value, thread_seq)""",
        "thread_assistants": f"""assistant_id TEXT NOT NULL, thread_seq {d.integer} NOT NULL,
            PRIMARY KEY (assistant_id, thread_seq)""",
    }
    indexes = (
        "INDEX assistants_by_project ON assistants (project, seq)",
        "INDEX threads_by_project ON threads (project, seq)",
        "INDEX thread_metadata_by_thread ON thread_metadata (thread_seq)",
        "INDEX messages_by_thread ON messages (thread_id, seq)",
        # Only what runs wrote has a run: the many messages of users cost no entry.
        "INDEX messages_by_run ON messages (thread_id, run_id, seq) WHERE run_id IS NOT NULL",
        "INDEX messages_behind ON messages (thread_id, behind) WHERE behind IS NOT NULL",
        "INDEX messages_in_turn ON messages (thread_id, turn, seq) WHERE turn IS NOT NULL",
        "INDEX runs_by_thread ON runs (thread_id, seq)",
        "INDEX steps_by_run ON steps (run_id, seq)",
        # One active run a thread: the database decides the race.
        "UNIQUE INDEX runs_one_active ON runs (thread_id) "
        "WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling') AND waiting = 0",
        "INDEX runs_claimable ON runs (seq) WHERE status IN ('queued', 'in_progress', 'cancelling') AND waiting = 0",
        "INDEX runs_waiting ON runs (thread_id, seq) WHERE waiting = 1",
        "INDEX runs_expiring ON runs (expires_at, seq) "
        "WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling')",
        "INDEX runs_ended ON runs (ended_at, seq) WHERE ended_at IS NOT NULL",
    )
    return [
        *(f"CREATE TABLE {name} ({columns}) {d.table_options}" for name, columns in tables.items()),
        *(f"CREATE TABLE {name} ({columns}) {d.key_table_options}" for name, columns in key_tables.items()),
        *(f"CREATE {index}" for index in indexes),
    ]
