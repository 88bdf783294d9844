"""Stores made along with threads and assistants, and what messages attach. Contract sections 2.1 to 2.3."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.client import Client
from support.http_shelf import Shelf, open_shelf
from support.projects import client_of

SEARCH = {"type": "file_search"}
CODE = {"type": "code_interpreter"}


@pytest.fixture(scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shelf]:
    async with open_shelf(tmp_path_factory.mktemp("shelf")) as opened:
        yield opened


@pytest.fixture
def client(shelf: Shelf) -> Client:
    return shelf.client


def message(*attached: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """A message with files, each for one tool or for several."""
    attachments = [
        {"file_id": file_id, "tools": tools if isinstance(tools, list) else [tools]} for file_id, tools in attached
    ]
    return {"role": "user", "content": "Read it.", "attachments": attachments, **more}


async def store_of(client: Client, thread: Any) -> Any:
    """The store that the thread searches."""
    shown = await client.get(f"/v1/threads/{thread['id']}")
    (store_id,) = shown["tool_resources"]["file_search"]["vector_store_ids"]
    return await client.get(f"/v1/vector_stores/{store_id}")


async def files_in(client: Client, store: Any) -> list[str]:
    page = await client.get(f"/v1/vector_stores/{store['id']}/files", order="asc")
    return [one["id"] for one in page["data"]]


async def assistant(client: Client, **body: Any) -> Any:
    return await client.post("/v1/assistants", {"model": "m", **body})


# --- stores that are made along


@pytest.mark.parametrize("path", ["/v1/threads", "/v1/assistants"])
async def test_a_store_is_made_along_and_attached(shelf: Shelf, path: str) -> None:
    first, second = await shelf.files(2)
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    asked = {"file_ids": [first, second], "metadata": {"a": "b"}, "chunking_strategy": static}
    body = {"tool_resources": {"file_search": {"vector_stores": [asked]}}}
    made = await shelf.client.post(path, body | ({"model": "m"} if path == "/v1/assistants" else {}))
    (store_id,) = made["tool_resources"]["file_search"]["vector_store_ids"]
    assert made == await shelf.client.get(f"{path}/{made['id']}")
    store = await shelf.client.get(f"/v1/vector_stores/{store_id}")
    assert (store["metadata"], store["name"], store["file_counts"]["total"]) == ({"a": "b"}, "", 2)
    assert await files_in(shelf.client, store) == [first, second]
    file = await shelf.client.get(f"/v1/vector_stores/{store_id}/files/{first}")
    assert file["chunking_strategy"] == static
    week = {"anchor": "last_active_at", "days": 7}
    assert store["expires_after"] == (week if path == "/v1/threads" else None)


async def test_a_run_that_makes_its_thread_makes_the_threads_store(shelf: Shelf) -> None:
    file_id, attached = await shelf.files(2)
    resources = {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}
    made = await assistant(shelf.client)
    thread = {"messages": [message((attached, SEARCH))], "tool_resources": resources}
    body = {"assistant_id": made["id"], "thread": thread}
    run = await shelf.client.post("/v1/threads/runs", body)
    store = await store_of(shelf.client, {"id": run["thread_id"]})
    assert await files_in(shelf.client, store) == [file_id, attached]


async def test_the_threads_first_event_shows_its_store(shelf: Shelf) -> None:
    made = await assistant(shelf.client)
    body = {"assistant_id": made["id"], "thread": {"messages": [message((await shelf.file(), SEARCH))]}}
    async with shelf.client.open_stream("/v1/threads/runs", body) as events:
        first = await anext(events)
    assert first.name == "thread.created"
    assert first.data == await shelf.client.get(f"/v1/threads/{first.data['id']}")
    assert len(first.data["tool_resources"]["file_search"]["vector_store_ids"]) == 1


@pytest.mark.parametrize("path", ["/v1/threads", "/v1/assistants", "/v1/threads/runs"])
async def test_a_store_is_named_or_made_but_not_both(shelf: Shelf, path: str) -> None:
    store = await shelf.store()
    both = {"tool_resources": {"file_search": {"vector_store_ids": [store["id"]], "vector_stores": [{}]}}}
    made = await assistant(shelf.client)
    body: dict[str, Any] = {**both, **({"model": "m"} if path == "/v1/assistants" else {})}
    if path == "/v1/threads/runs":
        body = {"assistant_id": made["id"], "thread": both}
    answer = await shelf.client.request("POST", path, body)
    assert (answer.status, answer.error["code"]) == (400, "mutually_exclusive_parameters")


async def test_a_runs_store_and_one_to_be_made_for_its_thread_exclude_each_other(shelf: Shelf) -> None:
    store, made = await shelf.store(), await assistant(shelf.client)
    body = {
        "assistant_id": made["id"],
        "thread": {"tool_resources": {"file_search": {"vector_stores": [{}]}}},
        "tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}},
    }
    answer = await shelf.client.request("POST", "/v1/threads/runs", body)
    assert (answer.status, answer.error["code"]) == (400, "mutually_exclusive_parameters")


async def test_nothing_is_made_when_a_file_of_the_store_is_unknown(shelf: Shelf) -> None:
    resources = {"file_search": {"vector_stores": [{"file_ids": ["file-nobody"]}]}}
    newest = (await shelf.client.get("/v1/vector_stores", limit=1))["first_id"]
    for path, body in (("/v1/threads", {}), ("/v1/assistants", {"model": "m"})):
        listed = await shelf.client.get(path)
        answer = await shelf.client.request("POST", path, {**body, "tool_resources": resources})
        assert (answer.status, answer.error["message"]) == (404, "No such File object: file-nobody")
        assert await shelf.client.get(path) == listed
    assert (await shelf.client.get("/v1/vector_stores", limit=1))["first_id"] == newest


async def test_a_store_that_is_named_must_be_there(shelf: Shelf) -> None:
    store, thread, made = await shelf.store(), await shelf.client.post("/v1/threads"), await assistant(shelf.client)
    named = {"tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}}}
    for path in (f"/v1/threads/{thread['id']}", f"/v1/assistants/{made['id']}"):
        assert (await shelf.client.post(path, named))["tool_resources"] == named["tool_resources"]
    unknown = {"tool_resources": {"file_search": {"vector_store_ids": ["vs_nobody"]}}}
    for path, body in (
        ("/v1/threads", {}),
        ("/v1/assistants", {"model": "m"}),
        (f"/v1/threads/{thread['id']}", {}),
        (f"/v1/assistants/{made['id']}", {}),
        ("/v1/threads/runs", {"assistant_id": made["id"]}),
    ):
        answer = await shelf.client.request("POST", path, {**body, **unknown})
        assert (answer.status, answer.error["message"]) == (404, "No vector store found with id 'vs_nobody'.")


# --- attachments


async def test_files_of_a_message_go_to_the_tools_that_they_are_for(shelf: Shelf) -> None:
    search, code, both = await shelf.files(3)
    thread = await shelf.client.post("/v1/threads")
    body = message((search, SEARCH), (code, CODE), (both, [SEARCH, CODE]))
    made = await shelf.client.post(f"/v1/threads/{thread['id']}/messages", body)
    assert made["attachments"] == body["attachments"]
    shown = await shelf.client.get(f"/v1/threads/{thread['id']}")
    assert shown["tool_resources"]["code_interpreter"]["file_ids"] == [code, both]
    store = await store_of(shelf.client, thread)
    assert await files_in(shelf.client, store) == [search, both]
    assert store["expires_after"] == {"anchor": "last_active_at", "days": 7}
    assert store["expires_at"] == store["last_active_at"] + 7 * 86_400


async def test_later_messages_fill_the_same_store_and_list(shelf: Shelf) -> None:
    first, second = await shelf.files(2)
    thread = await shelf.client.post("/v1/threads", {"messages": [message((first, [SEARCH, CODE]))]})
    assert thread == await shelf.client.get(f"/v1/threads/{thread['id']}")
    store = await store_of(shelf.client, thread)
    await shelf.client.post(f"/v1/threads/{thread['id']}/messages", message((second, [SEARCH, CODE]), (first, CODE)))
    shown = await shelf.client.get(f"/v1/threads/{thread['id']}")
    assert shown["tool_resources"]["code_interpreter"]["file_ids"] == [first, second]
    assert (await store_of(shelf.client, thread))["id"] == store["id"]
    assert await files_in(shelf.client, store) == [first, second]


async def test_a_store_that_the_thread_names_is_filled(shelf: Shelf) -> None:
    kept, first, second = await shelf.files(3)
    store = await shelf.store(kept)
    named = {"file_search": {"vector_store_ids": [store["id"]]}}
    thread = await shelf.client.post("/v1/threads", {"tool_resources": named, "messages": [message((first, SEARCH))]})
    assert thread["tool_resources"] == named
    await shelf.client.post(f"/v1/threads/{thread['id']}/messages", message((second, SEARCH)))
    assert await files_in(shelf.client, store) == [kept, first, second]


async def test_a_thread_whose_store_was_deleted_gets_another(shelf: Shelf) -> None:
    first, second = await shelf.files(2)
    thread = await shelf.client.post("/v1/threads", {"messages": [message((first, SEARCH))]})
    gone = await store_of(shelf.client, thread)
    await shelf.client.delete(f"/v1/vector_stores/{gone['id']}")
    await shelf.client.post(f"/v1/threads/{thread['id']}/messages", message((second, SEARCH)))
    assert await files_in(shelf.client, await store_of(shelf.client, thread)) == [second]


async def test_additional_messages_of_a_run_attach_too(shelf: Shelf) -> None:
    first, second = await shelf.files(2)
    made, thread = await assistant(shelf.client), await shelf.client.post("/v1/threads")
    messages = [message((first, SEARCH)), message((second, [SEARCH, CODE]))]
    body = {"assistant_id": made["id"], "additional_messages": messages}
    await shelf.client.post(f"/v1/threads/{thread['id']}/runs", body)
    assert await files_in(shelf.client, await store_of(shelf.client, thread)) == [first, second]
    shown = await shelf.client.get(f"/v1/threads/{thread['id']}")
    assert shown["tool_resources"]["code_interpreter"]["file_ids"] == [second]


async def test_a_message_that_is_refused_attaches_nothing(shelf: Shelf) -> None:
    file_id, made = await shelf.file(), await assistant(shelf.client)
    thread = await shelf.client.post("/v1/threads")
    path = f"/v1/threads/{thread['id']}"
    await shelf.client.post(f"{path}/runs", {"assistant_id": made["id"]})
    body = message((file_id, [SEARCH, CODE]))
    newest = (await shelf.client.get("/v1/vector_stores", limit=1))["first_id"]
    answer = await shelf.client.request("POST", f"{path}/messages", body)
    assert answer.error["message"].startswith("Can't add messages to")
    answer = await shelf.client.request(
        "POST", f"{path}/runs", {"assistant_id": made["id"], "additional_messages": [body]}
    )
    assert "already has an active run" in answer.error["message"]
    assert (await shelf.client.get(path))["tool_resources"] == {}
    assert (await shelf.client.get("/v1/vector_stores", limit=1))["first_id"] == newest


async def test_no_list_for_the_code_interpreter_grows_beyond_twenty_files(shelf: Shelf) -> None:
    file_ids = await shelf.files(21)
    body = {"tool_resources": {"code_interpreter": {"file_ids": list(file_ids[:20])}}}
    thread = await shelf.client.post("/v1/threads", body)
    for path, sent in (
        (f"/v1/threads/{thread['id']}/messages", message((file_ids[20], CODE))),
        ("/v1/threads", {**body, "messages": [message((file_ids[20], CODE))]}),
    ):
        answer = await shelf.client.request("POST", path, sent)
        assert (answer.status, answer.error["message"]) == (400, "A thread's code interpreter has at most 20 files.")
    assert (await shelf.client.get(f"/v1/threads/{thread['id']}/messages"))["data"] == []


async def test_racing_messages_make_one_store_for_their_thread(shelf: Shelf) -> None:
    file_ids = await shelf.files(6)
    thread = await shelf.client.post("/v1/threads")
    path = f"/v1/threads/{thread['id']}/messages"
    await asyncio.gather(*(shelf.client.post(path, message((file_id, [SEARCH, CODE]))) for file_id in file_ids))
    store = await store_of(shelf.client, thread)
    assert sorted(await files_in(shelf.client, store)) == sorted(file_ids)
    shown = await shelf.client.get(f"/v1/threads/{thread['id']}")
    assert sorted(shown["tool_resources"]["code_interpreter"]["file_ids"]) == sorted(file_ids)


async def test_another_projects_file_is_not_attached(shelf: Shelf) -> None:
    file_id = await shelf.file()
    stranger = await client_of(shelf.server, "proj_other")
    thread = await stranger.post("/v1/threads")
    for path, body in (
        (f"/v1/threads/{thread['id']}/messages", message((file_id, SEARCH))),
        ("/v1/threads", {"messages": [message((file_id, SEARCH))]}),
        ("/v1/threads", {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}}),
    ):
        answer = await stranger.request("POST", path, body)
        assert (answer.status, answer.error["message"]) == (404, f"No such File object: {file_id}")
    assert (await stranger.get("/v1/vector_stores"))["data"] == []


async def test_files_of_the_first_version_go_the_same_ways(shelf: Shelf) -> None:
    file_id = await shelf.file()
    made = await shelf.client.post(
        "/v1/assistants", {"model": "m", "tools": [{"type": "retrieval"}], "file_ids": [file_id]}
    )
    (store_id,) = made["tool_resources"]["file_search"]["vector_store_ids"]
    assert await files_in(shelf.client, {"id": store_id}) == [file_id]
    thread = await shelf.client.post("/v1/threads")
    body = {"role": "user", "content": "x", "file_ids": [file_id]}
    await shelf.client.post(f"/v1/threads/{thread['id']}/messages", body)
    assert await files_in(shelf.client, await store_of(shelf.client, thread)) == [file_id]
    shown = await shelf.client.get(f"/v1/threads/{thread['id']}")
    assert shown["tool_resources"]["code_interpreter"]["file_ids"] == [file_id]
