"""Pages over HTTP, of objects that were all made within one second. Contract section 1.3."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.answers import assert_refused
from support.client import Client
from support.clock import clock_set
from support.model_server import Call, Reply, ScriptedModel
from support.server import RunningServer, running_server
from support.talk import WEATHER, Talk

COUNT = 51
ORDERS = ("desc", "asc")

Lists = dict[str, tuple[str, list[str]]]
"""Of each kind: its list's path, and the ids of what is in it, oldest first."""


@pytest.fixture(scope="module")
async def frozen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[RunningServer, ScriptedModel]]:
    with clock_set():
        async with ScriptedModel() as model, running_server(model, tmp_path_factory.mktemp("lists")) as running:
            yield running, model


@pytest.fixture(scope="module")
async def lists(frozen: tuple[RunningServer, ScriptedModel]) -> Lists:
    server, model = frozen
    client = server.client
    assistants = [(await client.post("/v1/assistants", {"model": "m"}))["id"] for _ in range(COUNT)]
    thread = (await client.post("/v1/threads", {}))["id"]
    messages = f"/v1/threads/{thread}/messages"
    talked = [(await client.post(messages, {"role": "user", "content": str(n)}))["id"] for n in range(COUNT)]
    run, steps = await stepping(client, model)
    return {
        "assistant": ("/v1/assistants", [*assistants, run["assistant_id"]]),
        "message": (messages, talked),
        "run": await running(client, assistants[0]),
        "step": (f"/v1/threads/{run['thread_id']}/runs/{run['id']}/steps", steps),
    }


async def running(client: Client, assistant_id: str) -> tuple[str, list[str]]:
    """Runs on one thread, each begun when the one before it has ended."""
    thread = await client.post("/v1/threads", {"messages": [{"role": "user", "content": "@say x"}]})
    path = f"/v1/threads/{thread['id']}/runs"
    streams = [await client.stream(path, {"assistant_id": assistant_id}) for _ in range(COUNT)]
    assert {events[-2].name for events in streams} == {"thread.run.completed"}
    return path, [events[0].data["id"] for events in streams]


async def stepping(client: Client, model: ScriptedModel) -> tuple[dict[str, Any], list[str]]:
    """A run that asks for one output after the other, and then speaks."""
    model.script(*(Reply(Call(f"call_{n}", "weather", "{}")) for n in range(COUNT - 1)), Reply("Enough."))
    talk = await Talk.begin(client, tools=[WEATHER])
    events = await talk.stream()
    run = events[-2].data
    steps = [event.data["id"] for event in events if event.name == "thread.run.step.created"]
    for n in range(COUNT - 1):
        outputs = [{"tool_call_id": f"call_{n}", "output": "ok"}]
        events = await client.stream(f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs})
        steps += [event.data["id"] for event in events if event.name == "thread.run.step.created"]
    assert events[-2].name == "thread.run.completed"
    return run, steps


@pytest.fixture
def client(frozen: tuple[RunningServer, ScriptedModel]) -> Client:
    return frozen[0].client


def ids_of(page: dict[str, Any]) -> list[str]:
    """The ids on a page whose envelope is as it should be."""
    assert list(page) == ["object", "data", "first_id", "last_id", "has_more"]
    ids = [one["id"] for one in page["data"]]
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", ids[0] if ids else None, (ids or [None])[-1])
    return ids


async def test_everything_was_made_in_one_second(client: Client, lists: Lists) -> None:
    for path, ids in lists.values():
        page = await client.get(path, limit=100)
        assert len({one["created_at"] for one in page["data"]}) == 1
        assert len(page["data"]) == len(set(ids)) >= COUNT


@pytest.mark.parametrize("kind", ["assistant", "message", "run", "step"])
@pytest.mark.parametrize("order", ORDERS)
async def test_after_leads_through_all_of_them_exactly_once(
    client: Client, lists: Lists, kind: str, order: str
) -> None:
    path, ids = lists[kind]
    wanted = ids if order == "asc" else ids[::-1]
    page = await client.get(path, order=order)
    found = ids_of(page)
    assert len(found) == 20
    while page["has_more"]:
        page = await client.get(path, order=order, after=found[-1], limit=13)
        found += ids_of(page)
    assert found == wanted


@pytest.mark.parametrize("kind", ["assistant", "message", "run", "step"])
@pytest.mark.parametrize("order", ORDERS)
async def test_before_leads_back_through_all_of_them_exactly_once(
    client: Client, lists: Lists, kind: str, order: str
) -> None:
    path, ids = lists[kind]
    wanted = ids if order == "asc" else ids[::-1]
    found = [wanted[-1]]
    more = True
    while more:
        page = await client.get(path, order=order, before=found[0], limit=13)
        found = ids_of(page) + found
        more = page["has_more"]
    assert found == wanted


@pytest.mark.parametrize("kind", ["assistant", "message", "run", "step"])
@pytest.mark.parametrize("order", ORDERS)
async def test_both_cursors_enclose_what_is_between_them(client: Client, lists: Lists, kind: str, order: str) -> None:
    path, ids = lists[kind]
    wanted = ids if order == "asc" else ids[::-1]
    page = await client.get(path, order=order, after=wanted[10], before=wanted[20], limit=100)
    assert (ids_of(page), page["has_more"]) == (wanted[11:20], False)
    page = await client.get(path, order=order, after=wanted[10], before=wanted[20], limit=4)
    assert (ids_of(page), page["has_more"]) == (wanted[11:15], True)


async def test_newest_first_twenty_at_a_time_is_the_default(client: Client, lists: Lists) -> None:
    for path, ids in lists.values():
        page = await client.get(path)
        assert (ids_of(page), page["has_more"]) == (ids[::-1][:20], True)


async def test_a_page_that_is_exactly_full_is_the_last(client: Client, lists: Lists) -> None:
    for path, ids in lists.values():
        page = await client.get(path, limit=len(ids))
        assert (ids_of(page), page["has_more"]) == (ids[::-1], False)
        page = await client.get(path, limit=len(ids) - 1)
        assert (ids_of(page), page["has_more"]) == (ids[:0:-1], True)


async def test_behind_the_last_there_is_an_empty_page(client: Client, lists: Lists) -> None:
    for path, ids in lists.values():
        empty = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        assert await client.get(path, after=ids[0]) == empty
        assert await client.get(path, before=ids[-1]) == empty
        assert await client.get(path, order="asc", after=ids[-1]) == empty


async def test_limits_are_held_to_their_bounds(client: Client, lists: Lists) -> None:
    for path, _ in lists.values():
        assert len(ids_of(await client.get(path, limit=1))) == 1
        for limit, which in (
            (0, "below minimum value. Expected a value >= 1"),
            (101, "above maximum value. Expected a value <= 100"),
        ):
            assert_refused(
                await client.request("GET", path, params={"limit": limit}),
                f"Invalid 'limit': integer {which}, but got {limit} instead.",
                param="limit",
                code=f"integer_{'below_min' if limit == 0 else 'above_max'}_value",
            )
        assert_refused(
            await client.request("GET", path, params={"limit": "many"}),
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            param="limit",
            code="invalid_type",
        )


async def test_an_order_that_does_not_exist_is_refused(client: Client, lists: Lists) -> None:
    for path, _ in lists.values():
        assert_refused(
            await client.request("GET", path, params={"order": "up"}),
            "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.",
            param="order",
            code="invalid_value",
        )


async def test_a_cursor_that_is_not_in_the_list_is_refused(client: Client, lists: Lists) -> None:
    for kind, (path, _) in lists.items():
        foreign = next(ids[0] for other, (_, ids) in lists.items() if other != kind)
        for cursor in ("after", "before"):
            for unknown in ("nonsense", foreign):
                refused = await client.request("GET", path, params={cursor: unknown})
                assert_refused(refused, f"No {kind} found with id '{unknown}'.", param=cursor)


async def test_of_two_cursors_the_unknown_one_is_named(client: Client, lists: Lists) -> None:
    path, ids = lists["message"]
    refused = await client.request("GET", path, params={"after": ids[0], "before": "nonsense"})
    assert_refused(refused, "No message found with id 'nonsense'.", param="before")


async def test_an_empty_cursor_was_not_given(client: Client, lists: Lists) -> None:
    path, ids = lists["message"]
    assert ids_of(await client.get(path, after="", before="")) == ids[::-1][:20]


async def test_a_deleted_message_is_no_cursor_and_leaves_no_hole(client: Client) -> None:
    thread = await client.post("/v1/threads", {"messages": [{"role": "user", "content": str(n)} for n in range(3)]})
    path = f"/v1/threads/{thread['id']}/messages"
    ids = ids_of(await client.get(path))
    await client.delete(f"{path}/{ids[1]}")
    assert ids_of(await client.get(path)) == [ids[0], ids[2]]
    assert_refused(
        await client.request("GET", path, params={"after": ids[1]}),
        f"No message found with id '{ids[1]}'.",
        param="after",
    )


async def test_messages_of_one_run_can_be_listed(client: Client, lists: Lists) -> None:
    runs, run_ids = lists["run"]
    path = runs.removesuffix("runs") + "messages"
    page = await client.get(path, run_id=run_ids[7])
    assert [one["run_id"] for one in page["data"]] == [run_ids[7]]
    assert page["first_id"] == page["last_id"] == page["data"][0]["id"]
    assert ids_of(await client.get(path, run_id="run_nobody")) == []
    other, _ = lists["message"]
    assert ids_of(await client.get(other, run_id=run_ids[7])) == []


async def test_what_is_made_at_the_same_time_has_one_order(client: Client) -> None:
    thread = await client.post("/v1/threads", {})
    path = f"/v1/threads/{thread['id']}/messages"
    made = await asyncio.gather(*(client.post(path, {"role": "user", "content": str(n)}) for n in range(20)))
    forwards = ids_of(await client.get(path, order="asc"))
    assert forwards == ids_of(await client.get(path))[::-1]
    assert set(forwards) == {one["id"] for one in made}
