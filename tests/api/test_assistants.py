"""Assistants over HTTP: what comes back, what an update changes, what a deletion leaves. Contract section 2.1."""

from typing import Any

import pytest

from support.answers import assert_not_found
from support.client import Client
from support.projects import client_of
from support.server import RunningServer

PATH = "/v1/assistants"
NOWHERE = "asst_" + "0" * 24
DEFAULT_RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
FULL = {
    "model": "gpt-4o",
    "name": "Tutor",
    "description": "Explains",
    "instructions": "Be brief.",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
    "tool_resources": {"code_interpreter": {"file_ids": []}},
    "metadata": {"team": "a"},
    "temperature": 0.25,
    "top_p": 0.5,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
}
CHANGES: list[tuple[str, Any]] = [
    ("model", "gpt-4.1"),
    ("name", "Other"),
    ("description", ""),
    ("instructions", "Be long."),
    ("tools", []),
    ("tool_resources", {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": []}}),
    ("metadata", {"owner": "b"}),
    ("metadata", {}),
    ("temperature", 0.0),
    ("top_p", 0.0),
    ("response_format", "auto"),
    ("reasoning_effort", "none"),
]


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


async def test_whatever_is_left_out_is_shown_with_its_default(client: Client) -> None:
    made = await client.post(PATH, {"model": "gpt-4o"})
    assert made == {
        "id": made["id"],
        "object": "assistant",
        "created_at": made["created_at"],
        "name": None,
        "description": None,
        "model": "gpt-4o",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
    }
    assert made["id"].startswith("asst_")
    assert len(made["id"]) == len("asst_") + 24
    assert isinstance(made["created_at"], int)


async def test_whatever_is_given_is_shown_and_kept(client: Client) -> None:
    made = await client.post(PATH, FULL)
    assert made == {"id": made["id"], "object": "assistant", "created_at": made["created_at"], **FULL}
    assert await client.get(f"{PATH}/{made['id']}") == made


async def test_null_counts_as_left_out(client: Client) -> None:
    plain = await client.post(PATH, {"model": "m"})
    nulls = await client.post(PATH, {**dict.fromkeys(FULL), "model": "m"})
    assert {**nulls, "id": plain["id"], "created_at": plain["created_at"]} == plain


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"type": "code_interpreter"}, {"type": "code_interpreter"}),
        (
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "function": {"name": "f", "strict": False}},
        ),
        (
            {"type": "function", "function": {"name": "f", "description": None, "parameters": None, "strict": None}},
            {"type": "function", "function": {"name": "f", "strict": False}},
        ),
        (
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"x": [None, 1.5, {}]}}},
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"x": [None, 1.5, {}]}, "strict": False},
            },
        ),
        ({"type": "file_search"}, {"type": "file_search", "file_search": {"ranking_options": DEFAULT_RANKING}}),
        (
            {"type": "file_search", "file_search": {"max_num_results": 7, "ranking_options": {"score_threshold": 0.5}}},
            {
                "type": "file_search",
                "file_search": {"max_num_results": 7, "ranking_options": {**DEFAULT_RANKING, "score_threshold": 0.5}},
            },
        ),
    ],
)
async def test_tools_come_back_with_their_defaults(client: Client, sent: object, shown: object) -> None:
    made = await client.post(PATH, {"model": "m", "tools": [sent]})
    assert made["tools"] == [shown]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("auto", "auto"),
        ("none", "auto"),
        ({"type": "text"}, {"type": "text"}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
    ],
)
async def test_response_formats_come_back_as_given(client: Client, sent: object, shown: object) -> None:
    assert (await client.post(PATH, {"model": "m", "response_format": sent}))["response_format"] == shown


async def test_an_enabled_code_interpreter_shows_its_empty_list_of_files(client: Client) -> None:
    made = await client.post(PATH, {"model": "m", "tools": [{"type": "code_interpreter"}]})
    assert made["tool_resources"] == {"code_interpreter": {"file_ids": []}}
    later = await client.post(PATH, {"model": "m"})
    updated = await client.post(f"{PATH}/{later['id']}", {"tools": [{"type": "code_interpreter"}]})
    assert updated["tool_resources"] == {"code_interpreter": {"file_ids": []}}


async def test_an_update_changes_the_keys_that_are_sent_and_no_others(client: Client) -> None:
    shown = await client.post(PATH, FULL)
    for key, value in CHANGES:
        updated = await client.post(f"{PATH}/{shown['id']}", {key: value})
        assert updated == {**shown, key: value}
        assert await client.get(f"{PATH}/{shown['id']}") == updated
        shown = updated


async def test_an_update_replaces_the_metadata_as_a_whole(client: Client) -> None:
    made = await client.post(PATH, {"model": "m", "metadata": {"a": "1", "b": "2"}})
    updated = await client.post(f"{PATH}/{made['id']}", {"metadata": {"b": "3"}})
    assert updated["metadata"] == {"b": "3"}


async def test_an_update_that_gives_nothing_changes_nothing(client: Client) -> None:
    made = await client.post(PATH, FULL)
    for body in ({}, dict.fromkeys(FULL), None):
        assert await client.post(f"{PATH}/{made['id']}", body) == made


async def test_what_was_given_survives_an_update_of_something_else(client: Client) -> None:
    made = await client.post(PATH, {"model": "m", "temperature": 0.0, "top_p": 0.0})
    updated = await client.post(f"{PATH}/{made['id']}", {"name": "n"})
    assert (updated["temperature"], updated["top_p"]) == (0.0, 0.0)


async def test_a_deleted_assistant_is_gone(client: Client) -> None:
    made = await client.post(PATH, {"model": "m"})
    path = f"{PATH}/{made['id']}"
    assert await client.delete(path) == {"id": made["id"], "object": "assistant.deleted", "deleted": True}
    for method, body in (("GET", None), ("POST", {"name": "n"}), ("DELETE", None)):
        assert_not_found(await client.request(method, path, body), "assistant", made["id"])
    assert made["id"] not in [one["id"] for one in (await client.get(PATH, limit=100))["data"]]


async def test_unknown_assistants_are_not_found(client: Client) -> None:
    for method, body in (("GET", None), ("POST", {"name": "n"}), ("DELETE", None)):
        assert_not_found(await client.request(method, f"{PATH}/{NOWHERE}", body), "assistant", NOWHERE)


async def test_another_project_sees_nothing_of_an_assistant(shared: RunningServer) -> None:
    client, stranger = shared.client, await client_of(shared, "assistants-stranger")
    made = await client.post(PATH, FULL)
    path = f"{PATH}/{made['id']}"
    for method, body in (("GET", None), ("POST", {"name": "mine"}), ("DELETE", None)):
        assert_not_found(await stranger.request(method, path, body), "assistant", made["id"])
    assert (await stranger.get(PATH))["data"] == []
    own = await stranger.post(PATH, {"model": "m"})
    assert [one["id"] for one in (await stranger.get(PATH))["data"]] == [own["id"]]
    assert await client.get(path) == made
    assert own["id"] not in [one["id"] for one in (await client.get(PATH, limit=100))["data"]]


async def test_a_run_cannot_take_another_projects_assistant(shared: RunningServer) -> None:
    client, stranger = shared.client, await client_of(shared, "assistants-thief")
    made = await client.post(PATH, {"model": "m"})
    thread = await stranger.post("/v1/threads", {})
    body = {"assistant_id": made["id"]}
    for path in (f"/v1/threads/{thread['id']}/runs", "/v1/threads/runs"):
        assert_not_found(await stranger.request("POST", path, body), "assistant", made["id"])
        assert_not_found(await stranger.request("POST", path, {**body, "stream": True}), "assistant", made["id"])
    assert (await stranger.get(f"/v1/threads/{thread['id']}/runs"))["data"] == []


async def test_a_deleted_assistants_runs_stay_readable(client: Client) -> None:
    made = await client.post(PATH, {"model": "m"})
    thread = await client.post("/v1/threads", {"messages": [{"role": "user", "content": "@say Hello"}]})
    path = f"/v1/threads/{thread['id']}"
    events = await client.stream(f"{path}/runs", {"assistant_id": made["id"]})
    run = events[-2].data
    await client.delete(f"{PATH}/{made['id']}")
    assert await client.get(f"{path}/runs/{run['id']}") == run
    assert (await client.get(f"{path}/messages"))["data"][0]["assistant_id"] == made["id"]
    again = await client.request("POST", f"{path}/runs", {"assistant_id": made["id"]})
    assert_not_found(again, "assistant", made["id"])
