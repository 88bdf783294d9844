"""Schema version 2: runs that wait for a busy thread, and messages that are added to one.

`runs.waiting` is 1 until the runs before it have ended. `messages.behind` is the number of the thread's newest run when
a message was added to the busy thread: that run and those before it do not read it. When they have ended, `behind` is
cleared and `turn` is the number of the thread's newest message at that moment: models read the message behind that one,
while lists keep the order in which messages were added.
"""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def queue(d: Dialect) -> Sequence[str]:
    return [
        f"ALTER TABLE runs ADD COLUMN waiting {d.integer} NOT NULL DEFAULT 0",
        f"ALTER TABLE messages ADD COLUMN behind {d.integer}",
        f"ALTER TABLE messages ADD COLUMN turn {d.integer}",
        "DROP INDEX runs_one_active",
        "CREATE UNIQUE INDEX runs_one_active ON runs (thread_id) "
        "WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling') AND waiting = 0",
        "DROP INDEX runs_claimable",
        "CREATE INDEX runs_claimable ON runs (seq) "
        "WHERE status IN ('queued', 'in_progress', 'cancelling') AND waiting = 0",
        "CREATE INDEX runs_waiting ON runs (thread_id, seq) WHERE waiting = 1",
        "CREATE INDEX messages_behind ON messages (thread_id, behind) WHERE behind IS NOT NULL",
        "CREATE INDEX messages_in_turn ON messages (thread_id, turn, seq) WHERE turn IS NOT NULL",
    ]
