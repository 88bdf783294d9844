"""The golden decision table: every reachable state x every input. `UPDATE_GOLDEN=1` (or `make docs`) rewrites it."""

import os
from pathlib import Path

from support.decisions import INPUTS, PATHS, markdown, outcome, state
from understudy.core.run.machine import ACTIVE, TERMINAL

TABLE = Path(__file__).parents[3] / "docs" / "decision-table.md"


def test_the_decision_table_in_the_docs_is_what_the_machine_decides() -> None:
    shown = markdown()
    if os.environ.get("UPDATE_GOLDEN"):
        TABLE.write_text(shown)
    assert TABLE.read_text() == shown


def test_a_run_that_has_ended_never_moves_again() -> None:
    for name in PATHS:
        if state(name).run.status in TERMINAL:
            for happened in INPUTS.values():
                told = outcome(state(name), happened)
                assert told == "superseded" or told.startswith("refused: "), (name, happened)


def test_every_active_state_can_be_ended_by_cancel_and_by_expiry() -> None:
    for name in PATHS:
        reached = state(name)
        if name == "new" or reached.run.status not in ACTIVE:
            continue
        assert outcome(reached, INPUTS["Expire"]).endswith(("run.expired", "run.cancelled")), name
        told = outcome(reached, INPUTS["Cancel"])
        assert "run.cancelling" in told or told == "refused: Cannot cancel run with status 'cancelling'.", name
