"""What must be true of runs when all is over, whatever has been done to their servers."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import asyncpg

from support.readable import check_readable
from support.talk import polled
from understudy.core.limits import FACTS_PER_RUN_MAX

__all__ = ["ACTIVE", "check_end_state", "log_faults", "run_faults"]

ACTIVE: Final = "('queued', 'in_progress', 'requires_action', 'cancelling')"


def run_faults(steps: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Of a run that has ended, in words."""
    if any(shown["status"] == "in_progress" for shown in (*steps, *messages)):
        yield "something is still in progress"
    if any(not message["content"] for message in messages):
        yield "a message is empty"
    created = [step["step_details"]["message_creation"]["message_id"] for step in steps if step["type"] != "tool_calls"]
    if created != [message["id"] for message in messages]:
        yield f"{len(created)} steps wrote messages, there are {len(messages)}"
    texts = [json.dumps(message["content"]) for message in messages]
    if len(set(texts)) != len(texts):
        yield "a message stands there twice"


def log_faults(rows: Sequence[tuple[int, str, bytes]], last_fact: int) -> Iterator[str]:
    """A row has the number of the last of its facts, and the names of all of them."""
    facts = [
        (seq, event, body)
        for last_seq, events, body in rows
        for seq, event in enumerate(events.split(), last_seq - events.count(" "))
    ]
    if [seq for seq, _, _ in facts] != list(range(1, last_fact + 1)):
        yield f"the log has {len(facts)} facts of {last_fact}"
    try:
        check_readable((event, json.loads(body)) for _, event, body in facts)
    except AssertionError as error:
        yield f"the log cannot be read: {error}"


async def check_end_state(database_url: str, *, seconds: float = 40.0) -> dict[str, int]:
    """Waits until all runs of the database have ended, and says how many ended how. Raises for what must not be."""
    connection: asyncpg.Connection = await asyncpg.connect(database_url)
    try:

        async def all_ended() -> bool | None:
            active = await connection.fetchval(f"SELECT count(*) FROM runs WHERE status IN {ACTIVE}")
            return None if active else True

        await polled(all_ended, seconds=seconds)
        counts: dict[str, int] = {}
        faults: list[str] = []
        for row in await connection.fetch("SELECT id, seq, status, thread_id, lease_owner, last_fact, body FROM runs"):
            counts[row["status"]] = counts.get(row["status"], 0) + 1
            run = json.loads(row["body"])
            if row["lease_owner"] is not None or row["status"] != run["status"] or run["usage"] is None:
                faults.append(f"{run['id']} is {row['status']}, and {run['status']} of {row['lease_owner']}")
            faults += [f"{run['id']}: {fault}" for fault in await _faults(connection, row)]
        assert not faults, faults
        return counts
    finally:
        await connection.close()


async def _faults(connection: asyncpg.Connection, run: asyncpg.Record) -> list[str]:
    steps = await connection.fetch("SELECT body FROM steps WHERE run_id = $1 ORDER BY seq", run["id"])
    messages = await connection.fetch("SELECT body FROM messages WHERE run_id = $1 ORDER BY seq", run["id"])
    first = run["seq"] * FACTS_PER_RUN_MAX
    facts = await connection.fetch(
        "SELECT place - $1, events, body FROM facts WHERE place > $1 AND place < $2 ORDER BY place",
        first,
        first + FACTS_PER_RUN_MAX,
    )
    rows = [(place, events, body) for place, events, body in facts]
    return [
        *run_faults([json.loads(row["body"]) for row in steps], [json.loads(row["body"]) for row in messages]),
        *log_faults(rows, run["last_fact"]),
    ]
