"""What the `OpenAI-Beta` header changes: request spellings and `file_ids` in answers. Contract section 8."""

import asyncio
from typing import Any

import pytest

from support.answers import assert_refused
from support.client import Answer, Client
from support.model_server import Reply, ScriptedModel, Silence
from support.server import RunningServer
from support.talk import WEATHER, Talk
from understudy.api.v1_answers import with_file_ids

V1 = {"OpenAI-Beta": "assistants=v1"}
V2 = {"OpenAI-Beta": "assistants=v2"}
RETRIEVAL = {"type": "retrieval"}
SUPPORTED = "Supported values are: 'code_interpreter', 'function', and 'file_search'."
HINT = " In v2 files hang on 'tool_resources' of assistants and threads, and on 'attachments' of messages."


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


async def spoken(client: Client, headers: dict[str, str], content: str, **assistant: Any) -> dict[str, Any]:
    """An assistant, a thread and its first run, all asked for with these headers."""
    asked = client.with_headers(headers)
    made = await asked.post("/v1/assistants", {"model": "m", **assistant})
    thread = await asked.post("/v1/threads", {"messages": [{"role": "user", "content": content}]})
    run = await asked.post(f"/v1/threads/{thread['id']}/runs", {"assistant_id": made["id"]})
    return {"assistant": made, "thread": thread, "run": run}


@pytest.mark.parametrize("headers", [{}, V1, {"OpenAI-Beta": "other=v9, assistants=v1"}])
async def test_the_first_versions_requests_are_understood(client: Client, headers: dict[str, str]) -> None:
    body = {"model": "m", "tools": [RETRIEVAL], "file_ids": []}
    made = await client.request("POST", "/v1/assistants", body, headers=headers)
    assert [tool["type"] for tool in made.body["tools"]] == ["file_search"]
    message = {"role": "user", "content": "Read it", "file_ids": []}
    thread = await client.request("POST", "/v1/threads", {"messages": [message]}, headers=headers)
    path = f"/v1/threads/{thread.body['id']}"
    assert (await client.request("POST", f"{path}/messages", message, headers=headers)).status == 200
    run = {"assistant_id": made.body["id"], "tools": [RETRIEVAL], "tool_choice": RETRIEVAL}
    begun = await client.request("POST", f"{path}/runs", run, headers=headers)
    assert (begun.status, begun.body["tool_choice"]) == (200, {"type": "file_search"})


@pytest.mark.parametrize("headers", [{}, V1])
async def test_files_in_the_old_place_are_looked_for(client: Client, headers: dict[str, str]) -> None:
    body = {"model": "m", "tools": [{"type": "code_interpreter"}], "file_ids": ["file-nobody"]}
    answer = await client.request("POST", "/v1/assistants", body, headers=headers)
    assert_refused(answer, "No such File object: file-nobody", status=404, param="id")


async def test_the_second_version_refuses_the_firsts_spellings(client: Client) -> None:
    async def post(path: str, body: dict[str, Any]) -> Answer:
        return await client.request("POST", path, body, headers=V2)

    assert_refused(
        await post("/v1/assistants", {"model": "m", "tools": [RETRIEVAL]}),
        f"Invalid value: 'retrieval'. {SUPPORTED}",
        param="tools[0].type",
        code="invalid_value",
    )
    thread = await client.post("/v1/threads")
    for path, body, param in (
        ("/v1/assistants", {"model": "m", "file_ids": []}, "file_ids"),
        (f"/v1/threads/{thread['id']}/messages", {"role": "user", "content": "x", "file_ids": []}, "file_ids"),
        ("/v1/threads", {"messages": [{"role": "user", "content": "x", "file_ids": []}]}, "messages[0].file_ids"),
    ):
        refused = await post(path, body)
        assert_refused(refused, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


@pytest.mark.parametrize("headers", [{}, V2])
async def test_todays_answers_have_no_file_ids(client: Client, headers: dict[str, str]) -> None:
    made = await spoken(client, headers, "@say Hello")
    assert not [name for name, shown in made.items() if "file_ids" in shown]
    asked = client.with_headers(headers)
    thread = f"/v1/threads/{made['thread']['id']}"
    for path in ("/v1/assistants", f"{thread}/runs", f"{thread}/messages"):
        assert not [one for one in (await asked.get(path))["data"] if "file_ids" in one]


async def test_the_first_versions_answers_have_file_ids(client: Client) -> None:
    made = await spoken(client, V1, "@call weather {}", tools=[WEATHER])
    thread, run = f"/v1/threads/{made['thread']['id']}", made["run"]
    await Talk(client, made["assistant"], made["thread"]).until(run, "requires_action")
    assert (made["assistant"]["file_ids"], run["file_ids"]) == ([], [])
    assert "file_ids" not in made["thread"]
    message = {"role": "user", "content": "Hello"}
    other = (await client.post("/v1/threads"))["id"]
    written = await client.request("POST", f"/v1/threads/{other}/messages", message, headers=V1)
    assistant = f"/v1/assistants/{made['assistant']['id']}"
    for path in (assistant, f"{thread}/runs/{run['id']}", f"/v1/threads/{other}/messages/{written.body['id']}"):
        plain = await client.get(path)
        old = await client.request("GET", path, headers=V1)
        assert old.body == {**plain, "file_ids": []}
        changed = await client.request("POST", path, {"metadata": {"a": "1"}}, headers=V1)
        assert changed.body == {**old.body, "metadata": {"a": "1"}}


async def test_the_first_versions_lists_have_file_ids(client: Client) -> None:
    made = await spoken(client, V1, "@say Hello")
    await Talk(client, made["assistant"], made["thread"]).until(made["run"], "completed")
    thread = f"/v1/threads/{made['thread']['id']}"
    for path in ("/v1/assistants", f"{thread}/runs", f"{thread}/messages"):
        old = (await client.request("GET", path, params={"order": "asc", "limit": 1}, headers=V1)).body
        plain = await client.get(path, order="asc", limit=1)
        assert [one.pop("file_ids") for one in old["data"]] == [[]]
        assert {**old, "data": [one["id"] for one in old["data"]]} == {**plain, "data": [plain["first_id"]]}


async def test_the_first_versions_streams_have_file_ids(client: Client) -> None:
    assistant = await client.post("/v1/assistants", {"model": "m"})
    body = {
        "assistant_id": assistant["id"],
        "thread": {"messages": [{"role": "user", "content": "@say One"}]},
    }
    events = await client.with_headers(V1).stream("/v1/threads/runs", body)
    assert events[-1].data == "[DONE]"
    for event in events[:-1]:
        has = event.data["object"] in ("thread.run", "thread.message")
        assert ("file_ids" in event.data) is has
    assert [event.name for event in events] == [event.name for event in await client.stream("/v1/threads/runs", body)]


async def test_what_is_streamed_while_it_happens_has_file_ids_too(server: RunningServer, model: ScriptedModel) -> None:
    """Frames that their reader waits for take a shorter way to it."""
    asked, spoke = asyncio.Event(), asyncio.Event()
    model.script(Reply(Silence(asked), "One", Silence(spoke), " two."))
    assistant = await server.client.post("/v1/assistants", {"model": "m"})
    body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    shown: list[str] = []
    async with server.client.with_headers(V1).open_stream("/v1/threads/runs", body) as events:
        async for event in events:
            if event.name == "thread.run.in_progress":
                asked.set()
            elif event.name == "thread.message.delta":
                spoke.set()
            if event.name != "done":
                assert ("file_ids" in event.data) is (event.data["object"] in ("thread.run", "thread.message"))
                shown.append(event.name)
    assert shown.count("thread.message.delta") == 2


async def test_refusals_and_deletions_are_the_same_in_both_versions(client: Client) -> None:
    answer = await client.request("GET", "/v1/assistants/asst_nobody", headers=V1)
    assert_refused(answer, "No assistant found with id 'asst_nobody'.", status=404)
    made = await client.post("/v1/assistants", {"model": "m"})
    gone = await client.request("DELETE", f"/v1/assistants/{made['id']}", headers=V1)
    assert gone.body == {"id": made["id"], "object": "assistant.deleted", "deleted": True}


@pytest.mark.parametrize(
    "path",
    [
        "/assistants/asst_1/files",
        "/assistants/asst_1/files/file-1",
        "/threads/thread_1/messages/msg_1/files",
        "/threads/thread_1/messages/msg_1/files/file-1",
    ],
)
async def test_the_first_versions_sub_resources_say_where_files_went(client: Client, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await client.request(method, f"/v1{path}", headers=V1)
        assert_refused(answer, f"Invalid URL ({method} /v1{path}){HINT}", status=404)


def test_files_are_shown_where_the_first_version_had_them() -> None:
    assistant = {"object": "assistant", "tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}}}
    message = {"object": "thread.message", "attachments": [{"file_id": "file-2", "tools": []}]}
    run = {"object": "thread.run", "tool_resources": {}}
    step = {"object": "thread.run.step"}
    assert with_file_ids({"object": "list", "data": [assistant, message, run, step]}) == {
        "object": "list",
        "data": [
            {**assistant, "file_ids": ["file-1"]},
            {**message, "file_ids": ["file-2"]},
            {**run, "file_ids": []},
            step,
        ],
    }
