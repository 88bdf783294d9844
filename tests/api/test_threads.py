"""Threads over HTTP, and the end of everything that is under one. Contract section 2.2."""

import asyncio
from typing import Any

import pytest

from support.answers import assert_not_found
from support.client import Client
from support.model_server import ScriptedModel
from support.projects import client_of
from support.server import RunningServer
from support.talk import WEATHER, Talk

PATH = "/v1/threads"
NOWHERE = "thread_" + "0" * 24


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


def under(thread_id: str, run_id: str, message_id: str, step_id: str) -> list[tuple[str, str, dict[str, Any] | None]]:
    """Every request that a path under a thread can get."""
    thread = f"{PATH}/{thread_id}"
    run, message = f"{thread}/runs/{run_id}", f"{thread}/messages/{message_id}"
    return [
        ("GET", thread, None),
        ("POST", thread, {"metadata": {}}),
        ("DELETE", thread, None),
        ("GET", f"{thread}/messages", None),
        ("POST", f"{thread}/messages", {"role": "user", "content": "Hello"}),
        ("GET", message, None),
        ("POST", message, {"metadata": {}}),
        ("DELETE", message, None),
        ("GET", f"{thread}/runs", None),
        ("POST", f"{thread}/runs", {"assistant_id": "asst_" + "0" * 24}),
        ("POST", f"{thread}/runs", {"assistant_id": "asst_" + "0" * 24, "stream": True}),
        ("GET", run, None),
        ("POST", run, {"metadata": {}}),
        ("POST", f"{run}/cancel", None),
        ("POST", f"{run}/submit_tool_outputs", {"tool_outputs": []}),
        ("GET", f"{run}/steps", None),
        ("GET", f"{run}/steps/{step_id}", None),
    ]


async def test_a_thread_may_be_made_of_nothing(client: Client) -> None:
    for body in (None, {}, {"messages": None, "tool_resources": None, "metadata": None}):
        made = await client.post(PATH, body)
        assert made == {
            "id": made["id"],
            "object": "thread",
            "created_at": made["created_at"],
            "tool_resources": {},
            "metadata": {},
        }
        assert made["id"].startswith("thread_")
        assert await client.get(f"{PATH}/{made['id']}") == made


async def test_whatever_is_given_is_shown_and_kept(client: Client) -> None:
    resources = {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": []}}
    made = await client.post(PATH, {"tool_resources": resources, "metadata": {"a": "1"}})
    assert (made["tool_resources"], made["metadata"]) == (resources, {"a": "1"})
    assert await client.get(f"{PATH}/{made['id']}") == made


async def test_a_thread_is_made_with_its_messages_in_order(client: Client) -> None:
    sent = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two", "metadata": {"n": "2"}}]
    made = await client.post(PATH, {"messages": sent})
    assert "messages" not in made
    found = (await client.get(f"{PATH}/{made['id']}/messages", order="asc"))["data"]
    assert [(one["role"], one["content"][0]["text"]["value"], one["metadata"]) for one in found] == [
        ("user", "One", {}),
        ("assistant", "Two", {"n": "2"}),
    ]
    assert {one["thread_id"] for one in found} == {made["id"]}


async def test_an_update_changes_the_keys_that_are_sent_and_no_others(client: Client) -> None:
    shown = await client.post(PATH, {"metadata": {"a": "1", "b": "2"}})
    changes: list[tuple[str, Any]] = [
        ("tool_resources", {"code_interpreter": {"file_ids": []}}),
        ("metadata", {"b": "3"}),
        ("metadata", {}),
    ]
    for key, value in changes:
        updated = await client.post(f"{PATH}/{shown['id']}", {key: value})
        assert updated == {**shown, key: value}
        assert await client.get(f"{PATH}/{shown['id']}") == updated
        shown = updated
    for body in (None, {}, {"metadata": None, "tool_resources": None}):
        assert await client.post(f"{PATH}/{shown['id']}", body) == shown


async def test_an_update_leaves_the_resources_of_other_tools(client: Client) -> None:
    made = await client.post(PATH, {"tool_resources": {"code_interpreter": {"file_ids": []}}})
    updated = await client.post(f"{PATH}/{made['id']}", {"tool_resources": {"file_search": {"vector_store_ids": []}}})
    assert updated["tool_resources"] == {
        "code_interpreter": {"file_ids": []},
        "file_search": {"vector_store_ids": []},
    }


async def test_a_thread_with_a_refused_message_is_not_made(client: Client) -> None:
    sent = [{"role": "user", "content": "One"}, {"role": "user", "content": ""}]
    refused = await client.request("POST", PATH, {"messages": sent})
    assert (refused.status, refused.error["param"]) == (400, "messages[1].content")


async def test_everything_under_a_deleted_thread_is_gone_with_the_threads_own_text(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream())[-2].data
    message, step = (await talk.messages())[-1], (await talk.steps(run))[0]
    thread_id = talk.thread["id"]
    assert await client.delete(talk.path) == {"id": thread_id, "object": "thread.deleted", "deleted": True}
    for method, path, body in under(thread_id, run["id"], message["id"], step["id"]):
        assert_not_found(await client.request(method, path, body), "thread", thread_id)


async def test_everything_under_an_unknown_thread_is_not_found(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream())[-2].data
    message, step = (await talk.messages())[-1], (await talk.steps(run))[0]
    for method, path, body in under(NOWHERE, run["id"], message["id"], step["id"]):
        assert_not_found(await client.request(method, path, body), "thread", NOWHERE)


async def test_another_project_sees_nothing_under_a_thread(shared: RunningServer) -> None:
    client, stranger = shared.client, await client_of(shared, "threads-stranger")
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream())[-2].data
    messages, steps = await talk.messages(), await talk.steps(run)
    for method, path, body in under(talk.thread["id"], run["id"], messages[-1]["id"], steps[0]["id"]):
        assert_not_found(await stranger.request(method, path, body), "thread", talk.thread["id"])
    assert await client.get(talk.path) == talk.thread
    assert await talk.get(run) == run
    assert (await talk.messages(), await talk.steps(run)) == (messages, steps)


async def test_a_strangers_thread_gives_no_way_to_anothers_objects(shared: RunningServer) -> None:
    client, stranger = shared.client, await client_of(shared, "threads-thief")
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream())[-2].data
    message, step = (await talk.messages())[-1], (await talk.steps(run))[0]
    own = await stranger.post(PATH, {})
    for method, path, body in under(own["id"], run["id"], message["id"], step["id"]):
        if run["id"] in path:
            assert_not_found(await stranger.request(method, path, body), "run", run["id"])
        elif message["id"] in path:
            assert_not_found(await stranger.request(method, path, body), "message", message["id"])
    messages = f"{PATH}/{own['id']}/messages"
    assert (await stranger.get(messages, run_id=run["id"]))["data"] == []
    for cursor in ("after", "before"):
        refused = await stranger.request("GET", messages, params={cursor: message["id"]})
        assert (refused.status, refused.error["param"]) == (400, cursor)


async def test_deleting_a_thread_lets_go_of_its_active_run(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, content="@hang One")
    gone_before = shared_model.disconnects
    run = await talk.run()
    await talk.until_it_speaks()
    await client.delete(talk.path)
    await shared_model.until(lambda: shared_model.disconnects == gone_before + 1)
    assert_not_found(await client.request("GET", f"{talk.path}/runs/{run['id']}"), "thread", talk.thread["id"])


async def test_whatever_meets_the_deletion_of_its_thread_finds_it_gone(client: Client) -> None:
    """Deleting, cancelling and submitting at once: each is answered as if it came before the others, or after."""
    for _ in range(5):
        talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
        run = await talk.until(await talk.run(), "requires_action")
        path = f"{talk.path}/runs/{run['id']}"
        [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "21"}]}
        answers = await asyncio.gather(
            client.request("DELETE", talk.path),
            client.request("POST", f"{path}/cancel"),
            client.request("POST", f"{path}/submit_tool_outputs", outputs),
        )
        assert answers[0].status == 200
        for answer in answers[1:]:
            assert answer.status in (200, 400, 404), answer.body
            if answer.status == 404:
                assert answer.error["message"] == f"No thread found with id '{talk.thread['id']}'."
