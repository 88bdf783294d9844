"""The log of a run's facts, and the rows of steps and messages that facts change."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from understudy.core.limits import TURNS_PER_RUN_MAX
from understudy.core.run.state import DISCARDED, Discarded, Fact, MessageFact, Note, RunFact, RunState, StepFact
from understudy.ports import LoggedFact
from understudy.store.codec import decode_notes, decode_step, encode
from understudy.store.messages import discard_message, insert_run_message, replace_run_message
from understudy.store.operations import Op, Query, all_rows
from understudy.wire.messages import Message
from understudy.wire.steps import RunStep

_INSERT_STEP = "INSERT INTO steps (id, run_id, status, body) VALUES (?, ?, ?, ?)"
_UPDATE_STEP = "UPDATE steps SET status = ?, body = ? WHERE id = ?"
_NOTE_STEP = "UPDATE steps SET notes = ? WHERE id = ?"
_DELETE_STEP = "DELETE FROM steps WHERE id = ?"
_INSERT_FACTS = "INSERT INTO facts (run_id, seq, event, body) VALUES "

# Index: steps_by_run.
_STEPS = "SELECT seq, body FROM steps WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
_NOTES = "SELECT id, notes FROM steps WHERE run_id = ? AND notes IS NOT NULL ORDER BY seq LIMIT ?"
# Index: the primary key (run_id, seq).
_FACTS = "SELECT seq, event, body FROM facts WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
# Index: runs_ended.
_ENDED = "SELECT id, last_fact FROM runs WHERE ended_at <= ? ORDER BY ended_at, seq LIMIT ?"
# Index: the primary key (run_id, seq).
_PRUNE = "DELETE FROM facts WHERE run_id = ?"
_PRUNED = "UPDATE runs SET ended_at = NULL WHERE id = ?"


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
            yield Query(_DELETE_STEP, (step_id,))
        for message_id in gone.message_ids:
            yield from discard_message(after.run.thread_id, message_id)
    for step in changed.steps.values():
        if before.step is not None and before.step.id == step.id:
            yield Query(_UPDATE_STEP, (step.status, encode(step), step.id))
        else:
            yield Query(_INSERT_STEP, (step.id, step.run_id, step.status, encode(step)))
    if notes and before.step is not None:
        yield Query(_NOTE_STEP, (encode(notes), before.step.id))
    begun = None if before.open_message is None else before.open_message.id
    for message in changed.messages.values():
        tokens = 0 if message.status == "in_progress" else message_tokens
        if message.id == begun:
            yield from replace_run_message(message, tokens)
        else:
            yield from insert_run_message(message, tokens)


def log_facts(run_id: str, last_seq: int, facts: Sequence[Fact]) -> Op[int]:
    """Numbers the facts on from `last_seq`; the number of the last one."""
    if facts:
        # One statement for all: a decision has few facts, so few different texts come of it.
        columns: list[object] = []
        for seq, fact in enumerate(facts, last_seq + 1):
            columns += (run_id, seq, *_logged(fact))
        yield Query(_INSERT_FACTS + ", ".join(["(?, ?, ?, ?)"] * len(facts)), tuple(columns))
    return last_seq + len(facts)


def facts(run_id: str, after_seq: int, limit: int) -> Op[Sequence[LoggedFact]]:
    rows = yield Query(_FACTS, (run_id, after_seq, limit))
    return [LoggedFact(seq, event, payload) for seq, event, payload in rows]


def prune(ended_by: int, limit: int) -> Op[bool]:
    rows = yield Query(_ENDED, (ended_by, limit), locks=True)
    pruned = 0
    for run_id, last_fact in rows:
        if pruned >= limit:
            return True
        yield Query(_PRUNE, (run_id,))
        yield Query(_PRUNED, (run_id,))
        pruned += last_fact
    return len(rows) == limit


def steps(run_id: str) -> Op[Sequence[RunStep]]:
    rows = yield from all_rows(_STEPS, run_id)
    return [decode_step(body) for _, body in rows]


def notes(run_id: str) -> Op[Mapping[str, Mapping[str, Note]]]:
    # A run has at most as many turns as are allowed, each with at most one step of calls.
    rows = yield Query(_NOTES, (run_id, TURNS_PER_RUN_MAX))
    return {step_id: decode_notes(body) for step_id, body in rows}


def _logged(fact: Fact) -> tuple[str, bytes]:
    match fact:
        case RunFact(event, run):
            return event, encode(run)
        case StepFact(event, step):
            return event, encode(step)
        case MessageFact(event, message):
            return event, encode(message)
        case Discarded():
            return DISCARDED, encode(fact)
