"""The states of a run and the fields of each, as a client polls them (contract section 3.1)."""

from typing import Any

from support import lasting
from support.client import Client
from support.model_server import Call, Reply, ScriptedModel, Silence, Usage
from support.talk import WEATHER, Talk

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()

UNSET = {
    "started_at": None,
    "cancelled_at": None,
    "failed_at": None,
    "completed_at": None,
    "required_action": None,
    "last_error": None,
    "incomplete_details": None,
    "usage": None,
}
KEYS = {
    *UNSET,
    *("id", "object", "created_at", "assistant_id", "thread_id", "status", "expires_at", "model", "instructions"),
    *("tools", "tool_resources", "metadata", "temperature", "top_p", "max_completion_tokens", "max_prompt_tokens"),
    *("truncation_strategy", "response_format", "tool_choice", "parallel_tool_calls"),
}


def differing(run: dict[str, Any]) -> dict[str, Any]:
    """The fields that say how far a run is, where they say something."""
    return {key: run[key] for key in UNSET if run[key] is not None}


async def test_a_run_is_created_queued_and_nothing_else(talk: Talk, model: ScriptedModel) -> None:
    run = await talk.run()
    assert set(run) == KEYS
    assert (run["object"], run["status"]) == ("thread.run", "queued")
    assert (run["assistant_id"], run["thread_id"]) == (talk.assistant["id"], talk.thread["id"])
    assert run["expires_at"] == run["created_at"] + 600
    assert differing(run) == {}
    await talk.until(run, "completed")


async def test_a_run_in_progress_says_when_it_started(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply(Silence()))
    created = await talk.run()
    run = await talk.until(created, "in_progress")
    assert differing(run) == {"started_at": run["started_at"]}
    assert run["started_at"] >= run["created_at"]
    assert run["expires_at"] == created["expires_at"]
    await talk.cancel(run)


async def test_a_completed_run_shows_its_usage_and_no_longer_expires(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("Four.", usage=Usage(31, 2)))
    run = await talk.until(await talk.run(), "completed")
    usage = {"prompt_tokens": 31, "completion_tokens": 2, "total_tokens": 33}
    assert set(differing(run)) == {"started_at", "completed_at", "usage"}
    assert (run["expires_at"], run["usage"]) == (None, usage)
    (step,) = await talk.steps(run)
    message = (await talk.messages())[-1]
    assert (step["status"], step["usage"], step["expired_at"]) == ("completed", usage, None)
    assert step["step_details"] == {"type": "message_creation", "message_creation": {"message_id": message["id"]}}
    assert (message["status"], message["assistant_id"], message["run_id"]) == (
        "completed",
        talk.assistant["id"],
        run["id"],
    )


async def test_a_run_with_tools_goes_through_all_its_states(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(
        Reply("I look.", Call("call_a", "weather", '{"city":"Oslo"}'), usage=Usage(10, 5)),
        Reply(Call("call_b", "weather", "{}"), usage=Usage(20, 6)),
        Reply("Sunny.", usage=Usage(30, 7)),
    )
    created = await talk.run()
    waiting = await talk.until(created, "requires_action")
    call = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    assert differing(waiting) == {"started_at": waiting["started_at"], "required_action": action}
    assert waiting["expires_at"] == created["expires_at"]
    text, calls = await talk.steps(created)
    assert (text["type"], text["status"]) == ("message_creation", "completed")
    assert (calls["type"], calls["status"], calls["usage"]) == ("tool_calls", "in_progress", None)
    assert calls["expires_at"] == created["expires_at"]
    assert calls["step_details"]["tool_calls"][0]["function"]["output"] is None

    queued = await talk.submit(created, call_a="18 degrees")
    assert queued["status"] == "queued"
    assert differing(queued) == {"started_at": waiting["started_at"]}
    assert queued["expires_at"] == created["expires_at"]
    again = await talk.until(created, "requires_action")
    assert again["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"] == "call_b"
    assert (await talk.steps(created))[1]["step_details"]["tool_calls"][0]["function"]["output"] == "18 degrees"

    await talk.submit(created, call_b="Rain")
    ended = await talk.until(created, "completed")
    assert ended["usage"] == {"prompt_tokens": 60, "completion_tokens": 18, "total_tokens": 78}
    assert ended["started_at"] >= queued["started_at"]
    assert set(differing(ended)) == {"started_at", "completed_at", "usage"}
    steps = await talk.steps(created)
    assert [step["type"] for step in steps] == ["message_creation", "tool_calls", "tool_calls", "message_creation"]
    assert [step["usage"]["total_tokens"] for step in steps] == [0, 15, 26, 37]
    assert [one["content"][0]["text"]["value"] for one in await talk.messages()][1:] == ["I look.", "Sunny."]


async def test_a_thread_with_an_active_run_takes_no_second_run_and_no_message(
    client: Client, model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")))
    run = await talk.run()
    await talk.until(run, "requires_action")
    second = await client.request("POST", f"{talk.path}/runs", {"assistant_id": talk.assistant["id"]})
    assert (second.status, second.error["message"]) == (
        400,
        f"Thread {talk.thread['id']} already has an active run {run['id']}.",
    )
    added = await client.request("POST", f"{talk.path}/messages", {"role": "user", "content": "And?"})
    assert (added.status, added.error["message"]) == (
        400,
        f"Can't add messages to {talk.thread['id']} while a run {run['id']} is active.",
    )
    changed = await client.post(f"{talk.path}/runs/{run['id']}", {"metadata": {"a": "1"}})
    assert (changed["metadata"], changed["status"]) == ({"a": "1"}, "requires_action")
    await talk.submit(run, call_a="Rain")
    assert (await talk.until(run, "completed"))["metadata"] == {"a": "1"}
    await client.post(f"{talk.path}/messages", {"role": "user", "content": "And?"})


async def test_pollers_are_told_when_to_ask_again_until_the_run_has_ended(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply(Silence()))
    run = await talk.run()
    path = f"{talk.path}/runs/{run['id']}"
    assert 200 <= int((await talk.client.request("GET", path)).headers["openai-poll-after-ms"]) <= 500
    await talk.cancel(run)
    await talk.until(run, "cancelled")
    assert "openai-poll-after-ms" not in (await talk.client.request("GET", path)).headers
