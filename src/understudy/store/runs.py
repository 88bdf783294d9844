"""Runs' rows: the thread's one active run, the guard of every append, the leases of workers."""
# ruff: noqa: S608 - only constants of this package are put into SQL

from collections.abc import Callable, Sequence

from understudy.core.ids import ProjectId, RunId
from understudy.core.limits import WAITING_RUNS_PER_THREAD_MAX
from understudy.core.run.machine import TERMINAL, Decision
from understudy.core.run.state import RunState
from understudy.ports import Append, Appended, Begun, Lease, Missing, NewRun, SeqConflict, StoredRun, ThreadBusy
from understudy.store.attachments import attach_to_thread
from understudy.store.codec import (
    decode_message,
    decode_progress,
    decode_run,
    decode_settings,
    decode_step,
    encode,
)
from understudy.store.facts import log_facts, write_changes
from understudy.store.labels import relabelled
from understudy.store.lines import hold_place
from understudy.store.messages import insert_messages
from understudy.store.operations import Op, Query
from understudy.store.scope import ACTIVE, BODY, hold_thread
from understudy.store.threads import add_thread, note_assistant
from understudy.store.waiting import move_up, newest_run, waiting_runs
from understudy.wire.runs import Run

# The partial unique index runs_one_active decides which of two racing runs gets the thread. The loser updates nothing
# of the winner: it only learns the winner's id, in the same statement.
_INSERT = (
    "INSERT INTO runs "
    "(id, thread_id, assistant_id, status, expires_at, lease_owner, lease_until, last_fact, settings, progress, body, "
    "waiting, project, upstream) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    f"ON CONFLICT (thread_id) WHERE status IN {ACTIVE} AND waiting = 0 "
    "DO UPDATE SET thread_id = excluded.thread_id RETURNING id, seq"
)
_HOLD = "SELECT seq, last_fact, lease_owner, lease_until, body, waiting FROM runs WHERE id = ?"
# The thread before the run's own row, as in `add_run`: nobody joins the line while it moves. Indexes: those of the ids.
_HOLD_BOTH = (
    "SELECT r.seq, r.last_fact, r.lease_owner, r.lease_until, r.body, r.waiting "
    "FROM threads t JOIN runs r ON r.thread_id = t.id WHERE t.id = ? AND r.id = ?"
)
_UPDATE = (
    "UPDATE runs SET status = ?, expires_at = ?, lease_owner = ?, lease_until = ?, last_fact = ?, progress = ?, "
    "body = ?, waiting = ?, ended_at = ? WHERE id = ?"
)
# The same without what the run itself says: no index has to follow.
_ADVANCE = "UPDATE runs SET lease_owner = ?, lease_until = ?, last_fact = ?, progress = ? WHERE id = ?"
_UPDATE_BODY = "UPDATE runs SET body = ? WHERE id = ?"

# One statement, so that all of it is of one moment. Indexes: those of the ids, steps_by_run, messages_by_run.
_SELECT = (
    "SELECT t.project, r.body, r.settings, r.progress, r.last_fact, r.lease_owner, r.lease_until, s.body, m.body "
    "FROM runs r JOIN threads t ON t.id = r.thread_id "
    "LEFT JOIN steps s ON s.run_id = r.id AND s.status = 'in_progress' "
    "LEFT JOIN messages m ON m.thread_id = r.thread_id AND m.run_id = r.id AND m.status = 'in_progress' "
    "WHERE r.id = ? LIMIT 1"
)
# Index: runs_expiring. A run's life has one length, so the order of expiry is the order of creation.
_EXPIRED = (
    f"SELECT id FROM runs WHERE status IN {ACTIVE} AND expires_at <= ? "
    "AND (lease_until IS NULL OR lease_until <= ?) ORDER BY expires_at, seq LIMIT ?"
)
_RENEW = "UPDATE runs SET lease_until = ? WHERE id = ? AND lease_owner = ? RETURNING status"


def add_run(new: NewRun) -> Op[Begun]:
    run = new.state.run
    if new.thread is None:
        yield from hold_thread(new.project, run.thread_id)
    else:
        yield from add_thread(new.project, new.thread, new.messages, new.attached)
    begun, behind = Decision(new.facts, new.state), None
    winner, seq = yield from _insert(new, begun, new.lease, waits=False)
    if winner != run.id:
        waiting = yield from waiting_runs(run.thread_id)
        if new.if_busy is None or len(waiting) >= WAITING_RUNS_PER_THREAD_MAX:
            raise ThreadBusy(run.thread_id, winner)
        begun, behind = new.if_busy, (yield from newest_run(run.thread_id))
        _, seq = yield from _insert(new, begun, None, waits=True)
    if new.thread is None:
        # The run has the thread, or its place in the line, so these are let in where `add_message` may be refused.
        yield from insert_messages(run.thread_id, new.messages, behind)
        if new.attached is not None:
            yield from attach_to_thread(new.project, run.thread_id, new.attached)
    yield from note_assistant(run.thread_id, run.assistant_id)
    yield from write_changes(RunState(run=run), begun.after, begun.facts, 0, {})
    last_seq = yield from log_facts(seq, 0, begun.facts)
    if new.share is not None and new.lease is not None and winner == run.id:
        yield from hold_place(new.share, seq, in_turn=False)
    return Begun(seq=last_seq, waits=winner != run.id)


def _insert(new: NewRun, begun: Decision, lease: Lease | None, *, waits: bool) -> Op[tuple[str, int]]:
    """The id and number of the run that has the thread: another's, if that was there first. A waiting run's own."""
    run = begun.after.run
    ids = (run.id, run.thread_id, run.assistant_id)
    columns = (*ids, run.status, run.expires_at, *_columns(lease), len(begun.facts))
    bodies = (encode(new.settings), encode(begun.after.progress), encode(run))
    upstream = "" if new.share is None else new.share.upstream
    rows = yield Query(_INSERT, (*columns, *bodies, int(waits), new.project, upstream), single=True)
    winner, seq = rows[0]
    return winner, seq


def run(run_id: str) -> Op[StoredRun | None]:
    rows = yield Query(_SELECT, (run_id,))
    if not rows:
        return None
    project, body, settings, progress, last_fact, owner, until, step, message = rows[0]
    state = RunState(
        run=decode_run(body),
        step=None if step is None else decode_step(step),
        message=None if message is None else decode_message(message),
        progress=decode_progress(progress),
    )
    return StoredRun(
        project=ProjectId(project),
        state=state,
        settings=decode_settings(settings),
        seq=last_fact,
        lease=None if owner is None else Lease(owner=owner, until=until),
    )


def append(append: Append) -> Op[Appended]:
    ends = append.after.run.status in TERMINAL and append.before.run.status not in TERMINAL
    thread_id = append.before.run.thread_id
    sql, ids = (_HOLD_BOTH, (thread_id, append.run_id)) if ends else (_HOLD, (append.run_id,))
    rows = yield Query(sql, ids, locks=True, single=True)
    if not rows:
        raise Missing("run", append.run_id)
    seq, last_fact, owner, until, body, waiting = rows[0]
    if last_fact != append.expected_seq or (append.owner is not None and owner != append.owner):
        raise SeqConflict(append.run_id)
    if append.lease != "keep":
        owner, until = _columns(append.lease)
    written = yield from relabelled(append, body)
    progress = encode(append.after.progress)
    last_seq = last_fact + len(append.facts)
    if append.after.run == append.before.run:
        yield Query(_ADVANCE, (owner, until, last_seq, progress, append.run_id), unread=True)
    else:
        run = written.after.run
        columns = (run.status, run.expires_at, owner, until, last_seq, progress, encode(run))
        last = (0 if ends else waiting, append.at if ends else None, append.run_id)
        yield Query(_UPDATE, (*columns, *last), unread=True)
    yield from write_changes(append.before, written.after, written.facts, append.message_tokens, append.notes)
    yield from log_facts(seq, last_fact, written.facts)
    if append.share is not None:
        yield from hold_place(append.share, seq, in_turn=append.before.run.status == "queued")
    # A run that ends while it waits leaves the line, and moves nobody up.
    released = (yield from move_up(thread_id)) if ends and not waiting else None
    return Appended(seq=last_seq, written=written, released=released)


def update_run(project: str, thread_id: str, run_id: str, change: Callable[[Run], Run]) -> Op[Run]:
    rows = yield Query(BODY["run"], (run_id, thread_id, project), locks=True)
    if not rows:
        raise Missing("run", run_id)
    changed = change(decode_run(rows[0][0]))
    yield Query(_UPDATE_BODY, (encode(changed), run_id), unread=True)
    return changed


def expired(now: int, limit: int) -> Op[Sequence[RunId]]:
    rows = yield Query(_EXPIRED, (now, float(now), limit))
    return [RunId(row[0]) for row in rows]


def renew(owner: str, run_ids: Sequence[RunId], until: float) -> Op[Sequence[RunId]]:
    going_on = []
    for run_id in run_ids:
        rows = yield Query(_RENEW, (until, run_id, owner))
        if rows and rows[0][0] != "cancelling":
            going_on.append(run_id)
    return going_on


def _columns(lease: Lease | None) -> tuple[str | None, float | None]:
    return (None, None) if lease is None else (lease.owner, lease.until)
