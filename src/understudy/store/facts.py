"""The log of a run's facts, and the rows of steps and messages that facts change."""
# ruff: noqa: S608 - only constants of this package are put into SQL

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from understudy.core.limits import FACTS_PER_RUN_MAX, TURNS_PER_RUN_MAX
from understudy.core.run.state import (
    DISCARDED,
    Discarded,
    Fact,
    MessageFact,
    Note,
    RunFact,
    RunState,
    StepFact,
    shown_by,
)
from understudy.ports import LoggedFact
from understudy.store.codec import decode_notes, decode_step, encode
from understudy.store.messages import discard_message, insert_run_message, replace_run_message
from understudy.store.operations import Op, Query, all_rows
from understudy.wire.messages import Message
from understudy.wire.steps import RunStep

_INSERT_STEP = "INSERT INTO steps (id, run_id, status, body) VALUES (?, ?, ?, ?)"
# Index: steps_by_run.
_UPDATE_STEP = "UPDATE steps SET status = ?, body = ? WHERE run_id = ? AND id = ?"
_DELETE_STEP = "DELETE FROM steps WHERE run_id = ? AND id = ?"
_STEPS = "SELECT seq, body FROM steps WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
_NOTE_STEP = "UPDATE steps SET notes = ? WHERE run_id = ? AND id = ?"
_NOTES = "SELECT id, notes FROM steps WHERE run_id = ? AND notes IS NOT NULL ORDER BY seq LIMIT ?"

# A fact's `place` is its run's `seq` and its own in one number: the log needs no index, and grows at its end only.
# Facts that follow each other and say the same, as `created` and `queued` do, have one row: the last one's, with the
# names of all of them. A third of the log is not written by that.
OF_RUN: Final = f"f.place > r.seq * {FACTS_PER_RUN_MAX} AND f.place < (r.seq + 1) * {FACTS_PER_RUN_MAX}"
_INSERT_FACTS = "INSERT INTO facts (place, events, body) VALUES "
# Index: the fact's key.
_FACTS = (
    f"SELECT f.place - r.seq * {FACTS_PER_RUN_MAX}, f.events, f.body FROM runs r JOIN facts f ON {OF_RUN} "
    f"WHERE r.id = ? AND f.place > r.seq * {FACTS_PER_RUN_MAX} + ? ORDER BY f.place LIMIT ?"
)
# Index: runs_ended.
_ENDED = "SELECT seq, last_fact FROM runs WHERE ended_at <= ? ORDER BY ended_at, seq LIMIT ?"
# Index: the fact's key.
_PRUNE = "DELETE FROM facts WHERE place > ? AND place <= ?"
_PRUNED = "UPDATE runs SET ended_at = NULL WHERE seq = ?"


class Changes(Struct, frozen=True, kw_only=True):
    """The newest form of each step and message that facts touch, by id and in the order of their first facts."""

    steps: dict[str, RunStep]
    messages: dict[str, Message]
    discarded: Sequence[Discarded]


def changes(before: RunState, after: RunState, facts: Sequence[Fact]) -> Changes:
    """What must be written besides the run.

    A step or message that ended is in its last fact only. One that is still open is in `after`, which may be ahead of
    the facts: an open step's calls grow without an event.
    """
    steps: dict[str, RunStep] = {}
    messages: dict[str, Message] = {}
    discarded: list[Discarded] = []
    for fact in facts:
        match fact:
            case StepFact(_, step):
                steps[step.id] = step
            case MessageFact(_, message):
                messages[message.id] = message
            case Discarded(step_ids=step_ids, message_ids=message_ids):
                for id_ in step_ids:
                    steps.pop(id_, None)
                for id_ in message_ids:
                    messages.pop(id_, None)
                discarded.append(fact)
            case RunFact():
                pass
    if after.step is not None and (after.step.id in steps or after.step != before.step):
        steps[after.step.id] = after.step
    if after.message is not None and (after.message.id in messages or after.message != before.message):
        messages[after.message.id] = after.message
    return Changes(steps=steps, messages=messages, discarded=discarded)


def write_changes(
    before: RunState, after: RunState, facts: Sequence[Fact], message_tokens: int, notes: Mapping[str, Note]
) -> Op[None]:
    """`before` has rows already; what is not in it is new. `message_tokens` belong to a message that ends here."""
    changed = changes(before, after, facts)
    for gone in changed.discarded:
        for step_id in gone.step_ids:
            yield Query(_DELETE_STEP, (after.run.id, step_id), unread=True)
        for message_id in gone.message_ids:
            yield from discard_message(after.run.thread_id, message_id)
    for step in changed.steps.values():
        if before.step is not None and before.step.id == step.id:
            yield Query(_UPDATE_STEP, (step.status, encode(step), step.run_id, step.id), unread=True)
        else:
            yield Query(_INSERT_STEP, (step.id, step.run_id, step.status, encode(step)), unread=True)
    if notes and before.step is not None:
        yield Query(_NOTE_STEP, (encode(notes), after.run.id, before.step.id), unread=True)
    begun = None if before.open_message is None else before.open_message.id
    for message in changed.messages.values():
        tokens = 0 if message.status == "in_progress" else message_tokens
        if message.id == begun:
            yield from replace_run_message(message, tokens)
        else:
            yield from insert_run_message(message, tokens)


def log_facts(run_seq: int, last_seq: int, facts: Sequence[Fact]) -> Op[int]:
    """Numbers the facts on from `last_seq`; the number of the last one. `run_seq` is that of the run's row."""
    assert last_seq + len(facts) < FACTS_PER_RUN_MAX
    rows: list[tuple[int, str, bytes]] = []
    told: object = None
    body = b""
    for place, fact in enumerate(facts, run_seq * FACTS_PER_RUN_MAX + last_seq + 1):
        event, logged = (DISCARDED, fact) if isinstance(fact, Discarded) else (fact.event, shown_by(fact))
        if logged is not told:
            told, body = logged, encode(logged)
        if rows and rows[-1][2] == body:
            _, events, _ = rows.pop()
            event = f"{events} {event}"
        rows.append((place, event, body))
    if rows:
        # One statement for all: a decision has few facts, so few different texts come of it.
        columns = [column for row in rows for column in row]
        yield Query(_INSERT_FACTS + ", ".join(["(?, ?, ?)"] * len(rows)), tuple(columns), unread=True)
    return last_seq + len(facts)


def facts(run_id: str, after_seq: int, limit: int) -> Op[Sequence[LoggedFact]]:
    rows = yield Query(_FACTS, (run_id, after_seq, limit))
    found = [
        LoggedFact(seq, event, body)
        for last_seq, events, body in rows
        for seq, event in enumerate(events.split(), last_seq - events.count(" "))
        if seq > after_seq
    ]
    return found[:limit]


def prune(ended_by: int, limit: int) -> Op[bool]:
    rows = yield Query(_ENDED, (ended_by, limit), locks=True)
    pruned = 0
    for run_seq, last_fact in rows:
        if pruned >= limit:
            return True
        first_place = run_seq * FACTS_PER_RUN_MAX
        yield Query(_PRUNE, (first_place, first_place + last_fact), unread=True)
        yield Query(_PRUNED, (run_seq,), unread=True)
        pruned += last_fact
    return len(rows) == limit


def steps(run_id: str) -> Op[Sequence[RunStep]]:
    rows = yield from all_rows(_STEPS, run_id)
    return [decode_step(body) for _, body in rows]


def notes(run_id: str) -> Op[Mapping[str, Mapping[str, Note]]]:
    # A run has at most as many turns as are allowed, each with at most one step of calls.
    rows = yield Query(_NOTES, (run_id, TURNS_PER_RUN_MAX))
    return {step_id: decode_notes(body) for step_id, body in rows}
