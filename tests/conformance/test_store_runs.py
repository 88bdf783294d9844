"""Runs: the race for a thread, the guard of every append, and that a run comes back as it was."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from support.store import (
    ENGINES,
    NOON,
    PROJECT,
    Life,
    begun_thread,
    calls_step,
    message,
    new_run,
    open_engine,
    refusal,
    settings,
    text,
    thread,
)
from understudy.core.ids import ThreadId
from understudy.core.run.machine import Decision
from understudy.core.run.state import Discarded, MessageFact, Progress, RunFact, RunState, StepFact
from understudy.ports import (
    Appended,
    Begun,
    Lease,
    LoggedFact,
    Missing,
    PageQuery,
    SeqConflict,
    Store,
    StoredRun,
    ThreadBusy,
)
from understudy.wire.runs import Run, Usage
from understudy.wire.steps import FunctionCall, FunctionOutcome, ToolCalls

ALL = PageQuery(limit=100, descending=False)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def _all_facts(store: Store, life: Life) -> Sequence[LoggedFact]:
    return await store.facts(life.id, after_seq=0, limit=1000)


async def _stored(store: Store, life: Life) -> StoredRun:
    found = await store.run(life.id)
    assert found is not None
    return found


# --- the beginning


async def test_a_run_begins_with_its_thread_its_messages_and_its_facts(store: Store) -> None:
    made = thread()
    given = [message(made.id, "one"), message(made.id, "two")]
    lease = Lease(owner="w1", until=NOON + 15.5)
    new = new_run(made.id, thread=made, messages=given, lease=lease)
    assert await store.add_run(new) == Begun(seq=2)
    life = Life(store, new, 2)
    assert await _stored(store, life) == StoredRun(
        project=PROJECT, state=new.state, settings=settings(), seq=2, lease=lease
    )
    assert (await store.page("message", PROJECT, made.id, ALL)).ids == [stored.message.id for stored in given]
    body = msgspec.json.encode(new.state.run)
    assert await _all_facts(store, life) == [
        LoggedFact(1, "thread.run.created", body),
        LoggedFact(2, "thread.run.queued", body),
    ]
    assert await store.body("run", PROJECT, made.id, life.id) == body


async def test_a_run_on_a_thread_that_is_not_there_is_refused(store: Store) -> None:
    missing = await refusal(Missing, store.add_run(new_run("thread_x")))
    assert (missing.kind, missing.id) == ("thread", "thread_x")


async def test_of_twenty_runs_begun_at_once_one_gets_the_thread(store: Store) -> None:
    thread_id = await begun_thread(store)
    given = [new_run(thread_id, messages=[message(thread_id)]) for _ in range(20)]
    outcomes = await asyncio.gather(*(store.add_run(new) for new in given), return_exceptions=True)
    winners = [new.state.run.id for new, outcome in zip(given, outcomes, strict=True) if outcome == Begun(seq=2)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, ThreadBusy)]
    assert len(winners) == 1
    assert [(busy.thread_id, busy.run_id) for busy in losers] == [(thread_id, winners[0])] * 19
    assert (await store.page("run", PROJECT, thread_id, ALL)).ids == winners
    assert len((await store.page("message", PROJECT, thread_id, ALL)).ids) == 1


async def test_the_next_run_may_begin_when_the_last_has_ended(store: Store) -> None:
    thread_id = await begun_thread(store)
    life = await Life.begin(store, thread_id)
    await life.claim()
    await life.open_message()
    await refusal(ThreadBusy, store.add_run(new_run(thread_id)))
    await life.complete()
    await Life.begin(store, thread_id)


# --- appends


async def test_a_run_comes_back_exactly_as_it_was_at_each_of_its_moments(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))

    async def check() -> None:
        found = await _stored(store, life)
        assert (found.state, found.seq, found.settings) == (life.state, life.seq, settings())

    await check()
    await life.claim(Lease(owner="w1", until=NOON + 15.0))
    await check()
    await life.open_message()
    await check()
    assert life.seq == 7
    await life.complete()
    await check()
    assert (await _stored(store, life)).lease is None
    assert [fact.event for fact in await _all_facts(store, life)] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]
    assert [fact.seq for fact in await _all_facts(store, life)] == list(range(1, 11))
    assert [fact.seq for fact in await store.facts(life.id, after_seq=4, limit=3)] == [5, 6, 7]


async def test_what_a_run_wrote_is_read_where_clients_look_for_it(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    step, said = life.state.step, life.state.message
    assert step is not None
    assert said is not None
    await life.complete("Four.", tokens=9)
    body = await store.body("message", PROJECT, life.thread_id, said.id)
    assert body is not None
    assert msgspec.json.decode(body)["content"][0]["text"]["value"] == "Four."
    body = await store.body("step", PROJECT, life.id, step.id)
    assert body is not None
    assert msgspec.json.decode(body)["status"] == "completed"
    assert [s.status for s in await store.steps(life.id)] == ["completed"]
    (recent,) = await store.recent_messages(ThreadId(life.thread_id), before=None, limit=5)
    assert (recent.message.id, recent.tokens) == (said.id, 9)


async def test_an_open_step_that_grew_without_an_event_is_kept(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    step = calls_step(life.state.run)
    await life.go(
        replace(life.state, step=step),
        [StepFact("thread.run.step.created", step), StepFact("thread.run.step.in_progress", step)],
    )
    call = FunctionCall(id="call_1", function=FunctionOutcome(name="stock", arguments='{"sku":7}'))
    grown = replace(step, step_details=ToolCalls(tool_calls=[call]))
    waiting = replace(life.state.run, status="requires_action")
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    after = RunState(run=waiting, step=grown, progress=Progress(usage=usage, step_usage=usage, turns=1))
    await life.go(after, [RunFact("thread.run.requires_action", waiting)], lease=None)
    assert (await _stored(store, life)).state == after
    assert await store.steps(life.id) == [grown]


async def test_a_step_that_opens_as_the_last_one_ends_is_written_too(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    before = life.state.step
    after, facts = life.completed("I look.")
    step = calls_step(life.state.run)
    after = replace(life.state, step=step, message=None)
    facts = [*facts[:2], StepFact("thread.run.step.created", step), StepFact("thread.run.step.in_progress", step)]
    await life.go(after, facts, message_tokens=4)
    assert (await _stored(store, life)).state == after
    assert before is not None
    assert [(s.id, s.status) for s in await store.steps(life.id)] == [
        (before.id, "completed"),
        (step.id, "in_progress"),
    ]


async def test_an_append_to_an_older_state_is_refused_and_writes_nothing(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    stale = life.append(replace(life.state, run=replace(life.state.run, status="cancelled")), [])
    await life.claim()
    await refusal(SeqConflict, store.append(stale))
    assert (await _stored(store, life)).state == life.state
    assert len(await _all_facts(store, life)) == 3


async def test_of_many_appends_to_one_state_one_is_taken(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    working = replace(life.state.run, status="in_progress")
    appends = [
        life.append(
            replace(life.state, run=working),
            [RunFact("thread.run.in_progress", working)],
            lease=Lease(owner=f"w{n}", until=NOON + 15.0),
        )
        for n in range(20)
    ]
    outcomes = await asyncio.gather(*(store.append(append) for append in appends), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Appended"] + ["SeqConflict"] * 19
    lease = (await _stored(store, life)).lease
    assert lease is not None
    won = appends[int(lease.owner[1:])]
    assert outcomes[int(lease.owner[1:])] == Appended(seq=3, written=Decision(won.facts, won.after))


async def test_an_owner_who_lost_the_lease_can_append_no_more(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim(Lease(owner="early", until=NOON + 15.0))
    same = life.append(life.state, [], owner="early")
    assert await store.append(same) == Appended(seq=life.seq, written=Decision([], life.state))

    taken = life.append(life.state, [], lease=Lease(owner="late", until=NOON + 30.0))
    await store.append(taken)
    # Nothing was logged, so the number alone would have let the early one in.
    await refusal(SeqConflict, store.append(same))
    await store.append(life.append(life.state, [], owner="late", lease=None))
    await refusal(SeqConflict, store.append(life.append(life.state, [], owner="late")))


async def test_a_lost_workers_turn_leaves_the_thread_as_if_it_had_not_been(store: Store) -> None:
    thread_id = await begun_thread(store)
    life = await Life.begin(store, thread_id, messages=[message(thread_id)])
    await life.claim(Lease(owner="lost", until=NOON + 15.0))
    await life.open_message()
    step, said = life.state.step, life.state.message
    assert step is not None
    assert said is not None
    await life.lose()
    assert (await _stored(store, life)).state == life.state
    assert await store.steps(life.id) == []
    assert len((await store.page("message", PROJECT, thread_id, ALL)).ids) == 1
    last = (await _all_facts(store, life))[-1]
    ids = {"step_ids": [step.id], "message_ids": [said.id]}
    assert last == LoggedFact(8, "discarded", msgspec.json.encode(ids))

    # A step without a message, and a new turn behind it in the same append.
    await life.open_message()
    again = life.state.step
    assert again is not None
    assert life.state.message is not None
    other = calls_step(life.state.run)
    await life.go(
        replace(life.state, step=other, message=None),
        [
            Discarded(step_ids=(again.id,), message_ids=(life.state.message.id,)),
            StepFact("thread.run.step.created", other),
        ],
    )
    assert await store.steps(life.id) == [other]
    await life.lose()
    assert await store.steps(life.id) == []
    assert (await _stored(store, life)).state == life.state


async def test_a_message_deleted_while_the_run_writes_it_stays_deleted(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    said = life.state.message
    assert said is not None
    assert await store.delete_message(PROJECT, life.thread_id, said.id)
    await life.complete()
    assert (await store.page("message", PROJECT, life.thread_id, ALL)).ids == []
    assert (await _stored(store, life)).state.run.status == "completed"


async def test_a_deleted_message_is_not_written_anew_by_who_read_the_run_since(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    after, facts = life.completed()
    assert life.state.message is not None
    assert await store.delete_message(PROJECT, life.thread_id, life.state.message.id)
    life.state = (await _stored(store, life)).state
    assert life.state.message is None
    await life.go(after, facts)
    assert (await store.page("message", PROJECT, life.thread_id, ALL)).ids == []
    assert "thread.message.completed" in [fact.event for fact in await _all_facts(store, life)]


# --- what is not the machine's business


async def test_metadata_given_to_a_working_run_and_its_message_survives_the_next_append(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    said = life.state.message
    assert said is not None
    changed = await store.update_run(
        PROJECT, life.thread_id, life.id, lambda run: replace(run, metadata={"who": "client"})
    )
    assert changed.metadata == {"who": "client"}
    await store.update_message(PROJECT, life.thread_id, said.id, lambda m: replace(m, metadata={"m": "1"}))
    await life.complete()
    stored = await _stored(store, life)
    assert stored.state.run == replace(life.state.run, metadata={"who": "client"})
    assert stored.seq == life.seq
    (recent,) = await store.recent_messages(ThreadId(life.thread_id), before=None, limit=1)
    assert (recent.message.metadata, recent.message.content) == ({"m": "1"}, [text("Four.")])


async def test_facts_tell_the_metadata_that_is_stored_with_them(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))
    await life.claim()
    await life.open_message()
    assert life.state.message is not None
    message_id = life.state.message.id
    labels: dict[str, dict[str, str]] = {"thread.message": {"m": "1"}, "thread.run.step": {}, "thread.run": {"r": "1"}}
    await store.update_run(PROJECT, life.thread_id, life.id, lambda run: replace(run, metadata=labels["thread.run"]))
    await store.update_message(
        PROJECT, life.thread_id, message_id, lambda m: replace(m, metadata=labels["thread.message"])
    )
    after, facts = life.completed()
    appended = await store.append(life.append(after, facts))
    assert appended.written.after == (await _stored(store, life)).state
    for fact, logged in zip(appended.written.facts, (await _all_facts(store, life))[-3:], strict=True):
        told = msgspec.json.decode(logged.data)
        assert told["metadata"] == labels[told["object"]]
        shown = fact.message if isinstance(fact, MessageFact) else fact.run if isinstance(fact, RunFact) else None
        assert shown is None or msgspec.json.encode(shown) == logged.data


async def test_two_changes_of_a_run_at_once_are_both_applied(store: Store) -> None:
    life = await Life.begin(store, await begun_thread(store))

    async def label(name: str) -> None:
        def change(run: Run) -> Run:
            return replace(run, metadata=run.metadata | {name: "x"})

        await store.update_run(PROJECT, life.thread_id, life.id, change)

    await asyncio.gather(*(label(str(n)) for n in range(10)))
    assert len((await _stored(store, life)).state.run.metadata) == 10
    assert (await _stored(store, life)).seq == 2
