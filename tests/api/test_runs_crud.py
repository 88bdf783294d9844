"""Runs over HTTP: what they take from the assistant and the request, and how they are shown. Contract section 2.4."""

from typing import Any

import pytest

from support.answers import assert_not_found, assert_refused
from support.client import Client
from support.model_server import ScriptedModel
from support.server import RunningServer
from support.talk import WEATHER, Talk

NOWHERE = "run_" + "0" * 24
SHOWN_WEATHER = {"type": "function", "function": {**WEATHER["function"], "strict": False}}  # type: ignore[dict-item]
OVERRIDES: dict[str, Any] = {
    "model": "gpt-4.1",
    "instructions": "Be long.",
    "tools": [{"type": "function", "function": {"name": "g", "strict": True}}],
    "metadata": {"a": "1"},
    "temperature": 0.5,
    "top_p": 0.25,
    "max_prompt_tokens": 5000,
    "max_completion_tokens": 256,
    "truncation_strategy": {"type": "last_messages", "last_messages": 3},
    "tool_choice": {"type": "function", "function": {"name": "g"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
}


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


def new_run(run: dict[str, Any], talk: Talk) -> dict[str, Any]:
    """A run that was just made without any setting of its own, of an assistant without any."""
    return {
        "id": run["id"],
        "object": "thread.run",
        "created_at": run["created_at"],
        "assistant_id": talk.assistant["id"],
        "thread_id": talk.thread["id"],
        "status": "queued",
        "started_at": None,
        "expires_at": run["created_at"] + 600,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": "gpt-4o",
        "instructions": "",
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "max_completion_tokens": None,
        "max_prompt_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "incomplete_details": None,
        "usage": None,
        "response_format": "auto",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }


async def test_a_new_run_shows_every_default(client: Client) -> None:
    talk = await Talk.begin(client)
    run = await talk.run()
    assert run == new_run(run, talk)
    assert run["id"].startswith("run_")


async def test_null_counts_as_left_out(client: Client) -> None:
    talk = await Talk.begin(client)
    nothing = dict.fromkeys([*OVERRIDES, "stream", "additional_instructions", "additional_messages"])
    run = await talk.run(**nothing)
    assert run == new_run(run, talk)


async def test_a_finished_run_shows_what_it_took(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Four.")
    made = await talk.run()
    run = await talk.until(made, "completed")
    assert run == {
        **made,
        "status": "completed",
        "started_at": run["started_at"],
        "completed_at": run["completed_at"],
        "expires_at": None,
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }
    assert made["created_at"] <= run["started_at"] <= run["completed_at"]


async def test_a_run_takes_what_its_assistant_has(client: Client) -> None:
    given = {
        "instructions": "Be brief.",
        "tools": [WEATHER],
        "temperature": 0.0,
        "top_p": 0.5,
        "response_format": {"type": "text"},
        "reasoning_effort": "high",
    }
    talk = await Talk.begin(client, content="@say Hello", metadata={"of": "assistant"}, **given)
    run = await talk.run()
    assert {key: run[key] for key in given} == {**given, "tools": [SHOWN_WEATHER]}
    assert run["metadata"] == {}


async def test_a_requests_settings_override_the_assistants_for_this_run_only(client: Client) -> None:
    talk = await Talk.begin(
        client,
        content="@say {}",
        instructions="Be brief.",
        tools=[WEATHER],
        temperature=2,
        top_p=1,
        metadata={"b": "2"},
    )
    run = await talk.run(**OVERRIDES)
    assert {key: run[key] for key in OVERRIDES} == OVERRIDES
    assert await client.get(f"/v1/assistants/{talk.assistant['id']}") == talk.assistant
    await talk.until(run, "completed")
    assert (await talk.run())["instructions"] == "Be brief."


async def test_a_run_keeps_the_assistant_as_it_was_when_it_began(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", instructions="Be brief.", tools=[WEATHER])
    run = await talk.until(await talk.run(), "requires_action")
    await client.post(f"/v1/assistants/{talk.assistant['id']}", {"model": "other", "instructions": "Not", "tools": []})
    now = await talk.get(run)
    assert (now["model"], now["instructions"], now["tools"]) == ("gpt-4o", "Be brief.", [SHOWN_WEATHER])


@pytest.mark.parametrize(
    ("of_assistant", "fields", "joined"),
    [
        ("Be brief.", {"additional_instructions": "And kind."}, "Be brief.\nAnd kind."),
        ("Be brief.", {"instructions": "Be long.", "additional_instructions": "And kind."}, "Be long.\nAnd kind."),
        (None, {"additional_instructions": "Be kind."}, "Be kind."),
        ("Be brief.", {"instructions": ""}, ""),
    ],
)
async def test_instructions_are_joined(
    client: Client, of_assistant: str | None, fields: dict[str, str], joined: str
) -> None:
    talk = await Talk.begin(client, instructions=of_assistant)
    assert (await talk.run(**fields))["instructions"] == joined


async def test_additional_messages_are_added_before_the_run_begins(client: Client) -> None:
    talk = await Talk.begin(client, content="One")
    more = [
        {"role": "assistant", "content": "Two", "metadata": {"n": "2"}},
        {"role": "user", "content": [{"type": "text", "text": "@say Three"}]},
    ]
    events = await talk.stream(additional_messages=more)
    assert events[-2].name == "thread.run.completed"
    found = await talk.messages()
    assert [one["content"][0]["text"]["value"] for one in found] == ["One", "Two", "@say Three", "Three"]
    assert [one["run_id"] for one in found[:3]] == [None, None, None]
    assert found[1]["metadata"] == {"n": "2"}


async def test_a_refused_run_adds_no_messages(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    run = await talk.until(await talk.run(), "requires_action")
    body = {"assistant_id": talk.assistant["id"], "additional_messages": [{"role": "user", "content": "More"}]}
    assert_refused(
        await client.request("POST", f"{talk.path}/runs", body),
        f"Thread {talk.thread['id']} already has an active run {run['id']}.",
    )
    assert len(await talk.messages()) == 1


async def test_what_clients_ask_for_at_once_is_accepted(client: Client, shared_model: ScriptedModel) -> None:
    """Contract section 11.3: parameters that a strict reading would refuse together, or in a model's name."""
    talk = await Talk.begin(client, content="@say Hello", tools=[WEATHER])
    run = await talk.run(
        model="whatever/model:7b",
        truncation_strategy={"type": "auto", "last_messages": 1},
        reasoning_effort="none",
        max_prompt_tokens=256,
        max_completion_tokens=256,
        tool_choice="none",
    )
    assert run["truncation_strategy"] == {"type": "auto", "last_messages": 1}
    assert (run["model"], run["tool_choice"], run["reasoning_effort"]) == ("whatever/model:7b", "none", "none")
    await talk.until(run, "completed", "incomplete")


@pytest.mark.parametrize(
    "choice",
    ["none", "auto", "required", {"type": "function", "function": {"name": "weather"}}, {"type": "code_interpreter"}],
)
async def test_tool_choices_come_back_as_given(client: Client, choice: object) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    assert (await talk.run(tool_choice=choice))["tool_choice"] == choice


async def test_a_thread_and_its_run_are_made_in_one_request(client: Client) -> None:
    assistant = await client.post("/v1/assistants", {"model": "gpt-4o"})
    run = await client.post(
        "/v1/threads/runs",
        {
            "assistant_id": assistant["id"],
            "thread": {"messages": [{"role": "user", "content": "@say Hello"}], "metadata": {"t": "1"}},
            "tool_resources": {"code_interpreter": {"file_ids": []}},
            "metadata": {"r": "2"},
        },
    )
    thread = await client.get(f"/v1/threads/{run['thread_id']}")
    talk = Talk(client, assistant, thread)
    resources = {"code_interpreter": {"file_ids": []}}
    assert run == {**new_run(run, talk), "metadata": {"r": "2"}, "tool_resources": resources}
    assert (thread["metadata"], thread["tool_resources"]) == ({"t": "1"}, resources)
    await talk.until(run, "completed")
    assert [one["content"][0]["text"]["value"] for one in await talk.messages()] == ["@say Hello", "Hello"]


@pytest.mark.parametrize("fields", [{}, {"thread": None}, {"thread": {}}])
async def test_without_a_thread_an_empty_one_is_made(client: Client, fields: dict[str, Any]) -> None:
    assistant = await client.post("/v1/assistants", {"model": "gpt-4o", "instructions": "Say hello."})
    run = await client.post("/v1/threads/runs", {"assistant_id": assistant["id"], **fields})
    thread = await client.get(f"/v1/threads/{run['thread_id']}")
    assert (thread["metadata"], thread["tool_resources"]) == ({}, {})


@pytest.mark.parametrize("key", ["additional_instructions", "additional_messages", "reasoning_effort"])
async def test_a_thread_and_run_has_no_additions(client: Client, key: str) -> None:
    refused = await client.request("POST", "/v1/threads/runs", {"assistant_id": "asst_1", key: None})
    assert_refused(refused, f"Unknown parameter: '{key}'.", param=key, code="unknown_parameter")


async def test_only_the_metadata_of_a_run_can_change(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream(metadata={"a": "1", "b": "2"}))[-2].data
    path = f"{talk.path}/runs/{run['id']}"
    changed = await client.post(path, {"metadata": {"b": "3"}})
    assert changed == {**run, "metadata": {"b": "3"}}
    for body in (None, {}, {"metadata": None}):
        assert await client.post(path, body) == changed
    assert_refused(
        await client.request("POST", path, {"status": "completed"}),
        "Unknown parameter: 'status'.",
        param="status",
        code="unknown_parameter",
    )
    assert await client.get(path) == changed
    assert (await client.get(f"{talk.path}/runs"))["data"] == [changed]


async def test_metadata_given_while_a_run_waits_survives_its_end(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    run = await talk.until(await talk.run(), "requires_action")
    await client.post(f"{talk.path}/runs/{run['id']}", {"metadata": {"seen": "yes"}})
    await client.post(f"{talk.path}/runs/{run['id']}/cancel")
    assert (await talk.until(run, "cancelled"))["metadata"] == {"seen": "yes"}


async def test_a_run_is_found_under_its_own_thread_only(client: Client) -> None:
    talk, other = await Talk.begin(client, content="@say One"), await Talk.begin(client)
    run = (await talk.stream())[-2].data
    for run_id in (NOWHERE, run["id"]):
        path = f"{other.path}/runs/{run_id}"
        for method, one, body in (
            ("GET", path, None),
            ("POST", path, {"metadata": {}}),
            ("POST", f"{path}/cancel", None),
            ("POST", f"{path}/submit_tool_outputs", {"tool_outputs": []}),
            ("GET", f"{path}/steps", None),
        ):
            assert_not_found(await client.request(method, one, body), "run", run_id)
    assert await talk.get(run) == run


async def test_pollers_are_told_when_to_ask_again_until_the_run_has_ended(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    made = await client.request("POST", f"{talk.path}/runs", {"assistant_id": talk.assistant["id"]})
    path = f"{talk.path}/runs/{made.body['id']}"
    await talk.until(made.body, "requires_action")
    waiting = await client.request("GET", path)
    cancelling = await client.request("POST", f"{path}/cancel")
    for answer in (made, waiting, cancelling):
        assert answer.headers["openai-poll-after-ms"].isdigit()
    await talk.until(made.body, "cancelled")
    assert "openai-poll-after-ms" not in (await client.request("GET", path)).headers


async def test_runs_cannot_be_deleted(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Hello")
    run = (await talk.stream())[-2].data
    assert (await client.request("DELETE", f"{talk.path}/runs/{run['id']}")).status == 405
