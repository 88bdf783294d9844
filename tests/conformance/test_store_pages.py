"""Pages: exact, in insertion order, from any cursor, both ways. Contract section 1.3."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from support.store import ENGINES, PROJECT, Life, assistant, begun_thread, message, open_engine, refusal, thread
from understudy.core.ids import Kind
from understudy.ports import Missing, PageQuery, Store

SIZES = (1, 2, 7, 20, 50, 51, 52, 100)


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def _fifty_one(store: Store) -> tuple[str, list[str]]:
    """A thread with 51 messages of one second, and their ids in the order in which they were made."""
    made = thread()
    given = [message(made.id, str(n)) for n in range(51)]
    await store.add_thread(PROJECT, made, given[:20])
    for stored in given[20:]:
        await store.add_message(PROJECT, stored)
    return made.id, [stored.message.id for stored in given]


@pytest.mark.parametrize("descending", [False, True])
async def test_following_after_visits_each_item_once_in_order(store: Store, descending: bool) -> None:
    thread_id, ids = await _fifty_one(store)
    expected = ids[::-1] if descending else ids
    for limit in SIZES:
        found: list[str] = []
        query = PageQuery(limit=limit, descending=descending)
        while True:
            page = await store.page("message", PROJECT, thread_id, query)
            found += page.ids
            assert [msgspec.json.decode(body)["id"] for body in page.bodies] == page.ids
            assert page.has_more is (len(found) < 51)
            if not page.has_more:
                break
            assert len(page.ids) == limit
            query = replace(query, after=page.ids[-1])
        assert found == expected


@pytest.mark.parametrize("descending", [False, True])
async def test_following_before_visits_each_item_once_from_the_end(store: Store, descending: bool) -> None:
    thread_id, ids = await _fifty_one(store)
    expected = ids[::-1] if descending else ids
    for limit in SIZES:
        found = [expected[-1]]
        while True:
            query = PageQuery(limit=limit, descending=descending, before=found[0])
            page = await store.page("message", PROJECT, thread_id, query)
            found = [*page.ids, *found]
            assert page.has_more is (len(found) < 51)
            if not page.has_more:
                break
            assert len(page.ids) == limit
        assert found == expected


@pytest.mark.parametrize("descending", [False, True])
async def test_after_and_before_together_bound_the_page(store: Store, descending: bool) -> None:
    thread_id, ids = await _fifty_one(store)
    expected = ids[::-1] if descending else ids
    between = PageQuery(limit=100, descending=descending, after=expected[10], before=expected[20])
    page = await store.page("message", PROJECT, thread_id, between)
    assert (page.ids, page.has_more) == (expected[11:20], False)
    page = await store.page("message", PROJECT, thread_id, replace(between, limit=3))
    assert (page.ids, page.has_more) == (expected[11:14], True)
    page = await store.page("message", PROJECT, thread_id, replace(between, before=expected[11]))
    assert (page.ids, page.has_more) == ([], False)
    page = await store.page("message", PROJECT, thread_id, replace(between, after=expected[20], before=expected[10]))
    assert (page.ids, page.has_more) == ([], False)


async def test_an_unknown_cursor_is_missing(store: Store) -> None:
    thread_id, _ = await _fifty_one(store)
    _, foreign = await _fifty_one(store)
    for cursor in ("msg_x", foreign[0], thread_id):
        for query in (
            PageQuery(limit=1, descending=True, after=cursor),
            PageQuery(limit=1, descending=True, before=cursor),
        ):
            missing = await refusal(Missing, store.page("message", PROJECT, thread_id, query))
            assert (missing.kind, missing.id) == ("message", cursor)


async def test_an_empty_page_is_empty(store: Store) -> None:
    page = await store.page("message", PROJECT, await begun_thread(store), PageQuery(limit=20, descending=True))
    assert (page.ids, page.bodies, page.has_more) == ([], [], False)


async def test_a_deleted_item_leaves_no_hole(store: Store) -> None:
    thread_id, ids = await _fifty_one(store)
    assert await store.delete_message(PROJECT, thread_id, ids[1])
    page = await store.page("message", PROJECT, thread_id, PageQuery(limit=2, descending=False))
    assert page.ids == [ids[0], ids[2]]
    late = message(thread_id)
    await store.add_message(PROJECT, late)
    page = await store.page("message", PROJECT, thread_id, PageQuery(limit=1, descending=True))
    assert page.ids == [late.message.id]


async def test_a_runs_messages_are_a_page_of_their_own(store: Store) -> None:
    thread_id = await begun_thread(store)
    written: list[list[str]] = []
    for _ in range(3):
        life = await Life.begin(store, thread_id, messages=[message(thread_id)])
        await life.claim()
        await life.open_message()
        assert life.state.message is not None
        written.append([life.id, life.state.message.id])
        await life.complete()
    for run_id, message_id in written:
        for descending in (False, True):
            page = await store.page(
                "message", PROJECT, thread_id, PageQuery(limit=5, descending=descending), run_id=run_id
            )
            assert (page.ids, page.has_more) == ([message_id], False)
    elsewhere = await begun_thread(store)
    page = await store.page("message", PROJECT, elsewhere, PageQuery(limit=5, descending=False), run_id=written[0][0])
    assert page.ids == []


async def test_assistants_runs_and_steps_are_paged_too(store: Store) -> None:
    made = [assistant() for _ in range(5)]
    for stored in made:
        await store.add_assistant(PROJECT, stored)
    thread_id = await begun_thread(store)
    runs: list[str] = []
    steps: list[str] = []
    for _ in range(5):
        life = await Life.begin(store, thread_id)
        await life.claim()
        await life.open_message()
        assert life.state.step is not None
        runs.append(life.id)
        steps.append(life.state.step.id)
        await life.complete()

    lists: list[tuple[Kind, str | None, list[str]]] = [
        ("assistant", None, [stored.assistant.id for stored in made]),
        ("run", thread_id, runs),
        ("step", runs[0], steps[:1]),
    ]
    for kind, parent_id, ids in lists:
        page = await store.page(kind, PROJECT, parent_id, PageQuery(limit=3, descending=True))
        assert (page.ids, page.has_more) == (ids[::-1][:3], len(ids) > 3)
        page = await store.page(kind, PROJECT, parent_id, PageQuery(limit=3, descending=False, after=page.ids[-1]))
        assert page.ids == ids[ids.index(page.ids[0]) :][:3] if page.ids else len(ids) == 1
