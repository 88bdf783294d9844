"""What every store does with assistants, threads, messages and keys."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Never

import msgspec
import pytest
from msgspec.structs import replace

from support.store import (
    ENGINES,
    OTHER,
    PROJECT,
    Life,
    assistant,
    begun_thread,
    claimable,
    fresh,
    message,
    new_run,
    open_engine,
    refusal,
    thread,
)
from understudy.core.ids import Kind, RunId, ThreadId
from understudy.ports import Missing, PageQuery, Store, StoredAssistant, StoredKey, ThreadBusy, ThreadFull
from understudy.store import messages as message_operations
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.threads import Thread

ALL = PageQuery(limit=100, descending=False)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


# --- assistants


async def test_an_assistant_comes_back_as_it_was_given(store: Store) -> None:
    stored = assistant(tools=[], metadata={"a": "é\u2028"})
    await store.add_assistant(PROJECT, stored)
    assert await store.assistant(PROJECT, stored.assistant.id) == stored
    body = await store.body("assistant", PROJECT, None, stored.assistant.id)
    assert body == msgspec.json.encode(stored.assistant)


async def test_an_assistant_is_changed_in_place(store: Store) -> None:
    stored = assistant()
    await store.add_assistant(PROJECT, stored)

    def rename(old: StoredAssistant) -> StoredAssistant:
        return StoredAssistant(assistant=replace(old.assistant, name="Bea"))

    changed = await store.update_assistant(PROJECT, stored.assistant.id, rename)
    assert changed == rename(stored) == await store.assistant(PROJECT, stored.assistant.id)


async def test_two_changes_at_once_are_both_applied(store: Store) -> None:
    stored = assistant()
    await store.add_assistant(PROJECT, stored)

    async def label(name: str) -> None:
        def change(old: StoredAssistant) -> StoredAssistant:
            labels = old.assistant.metadata | {name: "x"}
            return replace(old, assistant=replace(old.assistant, metadata=labels))

        await store.update_assistant(PROJECT, stored.assistant.id, change)

    await asyncio.gather(*(label(str(n)) for n in range(10)))
    found = await store.assistant(PROJECT, stored.assistant.id)
    assert found is not None
    assert set(found.assistant.metadata) == {str(n) for n in range(10)}


async def test_a_change_that_raises_changes_nothing(store: Store) -> None:
    stored = assistant()
    await store.add_assistant(PROJECT, stored)

    def fail(_: StoredAssistant) -> StoredAssistant:
        raise ValueError("no")

    await refusal(ValueError, store.update_assistant(PROJECT, stored.assistant.id, fail))
    assert await store.assistant(PROJECT, stored.assistant.id) == stored


async def test_a_deleted_assistant_is_gone(store: Store) -> None:
    stored = assistant()
    await store.add_assistant(PROJECT, stored)
    assert await store.delete_assistant(PROJECT, stored.assistant.id)
    assert not await store.delete_assistant(PROJECT, stored.assistant.id)
    assert await store.assistant(PROJECT, stored.assistant.id) is None
    missing = await refusal(Missing, store.update_assistant(PROJECT, stored.assistant.id, lambda a: a))
    assert (missing.kind, missing.id) == ("assistant", stored.assistant.id)


# --- threads


async def test_a_thread_comes_with_its_first_messages_in_their_order(store: Store) -> None:
    made = thread(metadata={"k": "v"})
    given = [message(made.id, str(n)) for n in range(3)]
    await store.add_thread(PROJECT, made, given)
    assert await store.thread_exists(PROJECT, made.id)
    assert await store.body("thread", PROJECT, None, made.id) == msgspec.json.encode(made)
    page = await store.page("message", PROJECT, made.id, ALL)
    assert page.ids == [stored.message.id for stored in given]
    assert page.bodies == [msgspec.json.encode(stored.message) for stored in given]


async def test_a_thread_is_changed_in_place(store: Store) -> None:
    thread_id = await begun_thread(store)

    def label(old: Thread) -> Thread:
        return replace(old, metadata={"a": "b"})

    changed = await store.update_thread(PROJECT, thread_id, label)
    assert changed.metadata == {"a": "b"}
    assert await store.body("thread", PROJECT, None, thread_id) == msgspec.json.encode(changed)


async def test_labels_that_differ_in_what_an_engine_cannot_hold_are_kept_in_the_thread(store: Store) -> None:
    odd = thread(metadata={"a\0": "x", "a\ufffd": "x"})
    await store.add_thread(PROJECT, odd, ())
    body = await store.body("thread", PROJECT, None, odd.id)
    assert body is not None
    assert msgspec.json.decode(body)["metadata"] == odd.metadata


async def test_nothing_under_a_deleted_thread_is_left(store: Store) -> None:
    thread_id, kept = await begun_thread(store), await begun_thread(store)
    first = message(thread_id)
    await store.add_message(PROJECT, first)
    life = await Life.begin(store, thread_id)
    await life.claim()
    await life.open_message()
    assert life.state.step is not None
    neighbour = await Life.begin(store, kept)

    assert await store.delete_thread(PROJECT, thread_id) == [life.id]
    assert await store.delete_thread(PROJECT, thread_id) is None
    assert not await store.thread_exists(PROJECT, thread_id)
    assert await store.body("message", PROJECT, thread_id, first.message.id) is None
    assert await store.body("run", PROJECT, thread_id, life.id) is None
    assert await store.body("step", PROJECT, life.id, life.state.step.id) is None
    assert await store.run(life.id) is None
    assert await store.steps(life.id) == []
    assert await store.facts(life.id, after_seq=0, limit=100) == []
    assert await store.recent_messages(ThreadId(thread_id), before=None, limit=10) == []
    assert await claimable(store) == [neighbour.id]
    missing = await refusal(Missing, store.append(life.append(life.state, [])))
    assert (missing.kind, missing.id) == ("run", life.id)
    missing = await refusal(Missing, store.add_message(PROJECT, message(thread_id)))
    assert (missing.kind, missing.id) == ("thread", thread_id)


async def test_deleting_a_thread_at_rest_names_no_run(store: Store) -> None:
    thread_id = await begun_thread(store)
    life = await Life.begin(store, thread_id)
    await life.claim()
    await life.open_message()
    await life.complete()
    assert await store.delete_thread(PROJECT, thread_id) == []


# --- messages


async def test_messages_come_back_with_their_tokens_newest_first(store: Store) -> None:
    thread_id = ThreadId(await begun_thread(store))
    given = [message(thread_id, str(n), tokens=n) for n in range(5)]
    for stored in given:
        await store.add_message(PROJECT, stored)
    newest = await store.recent_messages(thread_id, before=None, limit=2)
    assert [(s.message, s.tokens) for s in newest] == [(s.message, s.tokens) for s in (given[4], given[3])]
    older = await store.recent_messages(thread_id, before=newest[-1], limit=10)
    assert [s.message.id for s in older] == [s.message.id for s in (given[2], given[1], given[0])]
    oldest = await store.first_messages(thread_id, limit=2)
    assert [s.message.id for s in oldest] == [s.message.id for s in given[:2]]
    assert oldest[1].seq == older[1].seq > oldest[0].seq > 0


async def test_a_message_in_progress_is_listed_but_not_part_of_the_context(store: Store) -> None:
    thread_id = await begun_thread(store)
    life = await Life.begin(store, thread_id, messages=[message(thread_id)])
    await life.claim()
    await life.open_message()
    assert len((await store.page("message", PROJECT, thread_id, ALL)).ids) == 2
    assert len(await store.recent_messages(ThreadId(thread_id), before=None, limit=10)) == 1
    assert len(await store.first_messages(ThreadId(thread_id), limit=10)) == 1


async def test_a_message_is_changed_in_place(store: Store) -> None:
    thread_id = await begun_thread(store)
    stored = message(thread_id)
    await store.add_message(PROJECT, stored)

    def label(old: Message) -> Message:
        return replace(old, metadata={"a": "b"})

    changed = await store.update_message(PROJECT, thread_id, stored.message.id, label)
    assert changed == label(stored.message)
    assert await store.body("message", PROJECT, thread_id, stored.message.id) == msgspec.json.encode(changed)


async def test_a_full_thread_takes_no_message_until_one_is_deleted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_operations, "MESSAGES_PER_THREAD_MAX", 3)
    thread_id = await begun_thread(store)
    given = [message(thread_id) for _ in range(3)]
    for stored in given:
        await store.add_message(PROJECT, stored)
    await refusal(ThreadFull, store.add_message(PROJECT, message(thread_id)))
    await refusal(ThreadFull, store.add_run(new_run(thread_id, messages=[message(thread_id)])))
    assert (await store.page("run", PROJECT, thread_id, ALL)).ids == []

    assert await store.delete_message(PROJECT, thread_id, given[0].message.id)
    assert not await store.delete_message(PROJECT, thread_id, given[0].message.id)
    await store.add_message(PROJECT, message(thread_id))
    await refusal(ThreadFull, store.add_message(PROJECT, message(thread_id)))
    overfull = thread()
    await refusal(ThreadFull, store.add_thread(PROJECT, overfull, [message(overfull.id) for _ in range(4)]))
    assert not await store.thread_exists(PROJECT, overfull.id)


async def test_an_active_run_locks_its_thread_and_its_end_frees_it(store: Store) -> None:
    thread_id = await begun_thread(store)
    life = await Life.begin(store, thread_id)
    busy = await refusal(ThreadBusy, store.add_message(PROJECT, message(thread_id)))
    assert (busy.thread_id, busy.run_id) == (thread_id, life.id)
    await life.claim()
    await life.open_message()
    await refusal(ThreadBusy, store.add_message(PROJECT, message(thread_id)))
    await life.complete()
    await store.add_message(PROJECT, message(thread_id))


async def test_no_message_slips_in_behind_a_run_that_began(store: Store) -> None:
    thread_id = await begun_thread(store)
    queued = new_run(thread_id)
    order: list[str] = []

    async def add(n: int) -> None:
        try:
            await store.add_message(PROJECT, message(thread_id, str(n)))
        except ThreadBusy as busy:
            order.append(busy.run_id)
        else:
            order.append("message")

    async def begin() -> None:
        await store.add_run(queued)
        order.append("run")

    await asyncio.gather(*(add(n) for n in range(10)), begin(), *(add(n) for n in range(10)))
    # An engine may let them in in any order, so what counts is who was let in: each one that is refused saw the run.
    assert set(order) <= {"message", "run", queued.state.run.id}
    await refusal(ThreadBusy, store.add_message(PROJECT, message(thread_id)))
    assert len((await store.page("message", PROJECT, thread_id, ALL)).ids) == order.count("message")


# --- projects


async def test_nothing_of_a_project_exists_for_another(store: Store) -> None:
    kept = assistant()
    await store.add_assistant(PROJECT, kept)
    thread_id = await begun_thread(store)
    stored = message(thread_id)
    await store.add_message(PROJECT, stored)
    life = await Life.begin(store, thread_id)
    await life.claim()
    await life.open_message()
    assert life.state.step is not None
    message_id = stored.message.id

    places: list[tuple[Kind, str | None, str]] = [
        ("assistant", None, kept.assistant.id),
        ("thread", None, thread_id),
        ("message", thread_id, message_id),
        ("run", thread_id, life.id),
        ("step", life.id, life.state.step.id),
    ]
    for kind, parent_id, id_ in places:
        assert await store.body(kind, PROJECT, parent_id, id_) is not None
        assert await store.body(kind, OTHER, parent_id, id_) is None
        if kind != "thread":
            assert (await store.page(kind, OTHER, parent_id, ALL)).ids == []
            assert id_ in (await store.page(kind, PROJECT, parent_id, ALL)).ids

    def never(_: object) -> Never:
        raise AssertionError("changed another project's object")

    assert await store.assistant(OTHER, kept.assistant.id) is None
    assert not await store.thread_exists(OTHER, thread_id)
    assert not await store.delete_assistant(OTHER, kept.assistant.id)
    assert not await store.delete_message(OTHER, thread_id, message_id)
    assert await store.delete_thread(OTHER, thread_id) is None
    await refusal(Missing, store.update_assistant(OTHER, kept.assistant.id, never))
    await refusal(Missing, store.update_thread(OTHER, thread_id, never))
    await refusal(Missing, store.update_message(OTHER, thread_id, message_id, never))
    await refusal(Missing, store.update_run(OTHER, thread_id, life.id, never))
    await refusal(Missing, store.add_message(OTHER, message(thread_id)))
    await refusal(Missing, store.add_run(new_run(thread_id, project=OTHER)))
    assert (await store.page("message", PROJECT, thread_id, ALL)).ids[0] == message_id


async def test_an_object_is_found_under_its_own_parent_only(store: Store) -> None:
    thread_id, elsewhere = await begun_thread(store), await begun_thread(store)
    stored = message(thread_id)
    await store.add_message(PROJECT, stored)
    life, other = await Life.begin(store, thread_id), await Life.begin(store, elsewhere)
    await life.claim()
    await life.open_message()
    assert life.state.step is not None
    assert await store.body("message", PROJECT, elsewhere, stored.message.id) is None
    assert await store.body("run", PROJECT, elsewhere, life.id) is None
    assert await store.body("step", PROJECT, other.id, life.state.step.id) is None
    assert not await store.delete_message(PROJECT, elsewhere, stored.message.id)
    missing = await refusal(Missing, store.update_message(PROJECT, elsewhere, stored.message.id, lambda m: m))
    assert (missing.kind, missing.id) == ("message", stored.message.id)

    def same(run: Run) -> Run:
        return run

    missing = await refusal(Missing, store.update_run(PROJECT, elsewhere, life.id, same))
    assert (missing.kind, missing.id) == ("run", life.id)
    await refusal(Missing, store.page("message", PROJECT, elsewhere, replace(ALL, after=stored.message.id)))


async def test_unknown_ids_are_answered_with_none(store: Store) -> None:
    assert await store.run(RunId("run_x")) is None
    assert await store.body("thread", PROJECT, None, "thread_x") is None
    assert await store.body("run", PROJECT, "thread_x", "run_x") is None
    assert (await store.page("message", PROJECT, "thread_x", ALL)).ids == []


# --- keys


def _key(n: int) -> StoredKey:
    return StoredKey(
        id=f"key_{n}", name=f"n{n}", hint="sk-ab", digest=bytes([n % 256]) * 32, project=PROJECT, created_at=n
    )


async def test_a_key_is_found_by_its_digest_until_it_is_revoked(store: Store) -> None:
    first, second = _key(1), _key(2)
    await store.add_key(first)
    await store.add_key(second)
    assert await store.keys() == [first, second]
    assert await store.key_by_digest(second.digest) == second
    assert await store.key_by_digest(b"\x00" * 32) is None

    assert await store.revoke_key(first.id, 77)
    assert not await store.revoke_key(first.id, 88)
    assert not await store.revoke_key("key_x", 77)
    found = await store.key_by_digest(first.digest)
    assert found == replace(first, revoked_at=77)
    assert await store.keys() == [found, second]


async def test_all_keys_are_listed_however_many(store: Store) -> None:
    given = [replace(_key(n), digest=n.to_bytes(32, "big")) for n in range(300)]
    await asyncio.gather(*(store.add_key(key) for key in given))
    assert sorted(await store.keys(), key=lambda key: key.digest) == given


async def test_the_store_says_that_it_is_well(store: Store) -> None:
    await store.check()
    await store.check()


async def test_an_id_given_twice_is_not_stored_twice(store: Store) -> None:
    made = thread(id=fresh("thread"))
    await store.add_thread(PROJECT, made, ())
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.add_thread(OTHER, made, ())
    assert not await store.thread_exists(OTHER, made.id)
