"""Token limits are totals over all model calls of a run, and reaching one ends it as incomplete, with the reason."""

from typing import Any

import pytest

from support import lasting
from support.client import Client
from support.model_server import Call, Refuse, Reply, ScriptedModel, Usage
from support.talk import WEATHER, Talk
from understudy.tokens import SplintrTokens

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()


def sentence(number: int) -> str:
    return f"Number {number}: " + "word " * 80


def said(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "user"]


def prompt_tokens(messages: list[dict[str, Any]]) -> int:
    count = SplintrTokens().count
    return sum(count(message.get("content") or "") + 4 for message in messages)


def incomplete(run: dict[str, Any], reason: str) -> bool:
    """The fields of the contract's section 3.1."""
    assert run["incomplete_details"] == {"reason": reason}
    assert run["completed_at"] is not None
    assert (run["expires_at"], run["failed_at"], run["last_error"], run["required_action"]) == (None, None, None, None)
    return bool(run["status"] == "incomplete")


async def summed(talk: Talk, run: dict[str, Any]) -> dict[str, int]:
    """The usage of all of a run's steps."""
    usages = [step["usage"] for step in await talk.steps(run)]
    return {key: sum(usage[key] for usage in usages) for key in ("prompt_tokens", "completion_tokens", "total_tokens")}


async def test_the_documented_example_of_500_and_1000_tokens(client: Client, model: ScriptedModel) -> None:
    """200 and 300 are used by the first call, so the second one may have 300 and 700."""
    talk = await Talk.begin(client, content=sentence(0), model="gpt-4o-limits", tools=[WEATHER])
    for number in range(1, 8):
        await client.post(f"{talk.path}/messages", {"role": "user", "content": sentence(number)})
    model.script(
        Reply(Call("call_a", "weather", '{"city":"Oslo"}'), usage=Usage(200, 300)),
        Reply("Sunny.", usage=Usage(150, 2)),
    )
    run = await talk.run(max_prompt_tokens=500, max_completion_tokens=1000)
    await talk.until(run, "requires_action")
    await talk.submit(run, call_a="18 degrees")
    ended = await talk.until(run, "completed")
    first, second = (chat.body for chat in model.chats)
    assert (first["max_tokens"], second["max_tokens"]) == (1000, 700)
    assert 300 < prompt_tokens(first["messages"]) <= 500
    # What the model server reports teaches how far our estimates are off, by no more than this factor.
    assert prompt_tokens(second["messages"]) <= 300 / 0.7
    assert len(said(second["messages"])) < len(said(first["messages"]))
    assert said(second["messages"])[-1] == sentence(7)
    assert [message["role"] for message in second["messages"][-2:]] == ["assistant", "tool"]
    assert ended["usage"] == {"prompt_tokens": 350, "completion_tokens": 302, "total_tokens": 652}
    assert await summed(talk, run) == ended["usage"]


@pytest.mark.parametrize(
    ("limit", "spent"),
    [("max_completion_tokens", Usage(20, 400)), ("max_prompt_tokens", Usage(400, 20))],
)
async def test_a_spent_limit_ends_the_run_without_another_call(
    client: Client, model: ScriptedModel, limit: str, spent: Usage
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}"), usage=spent))
    run = await talk.run(**{limit: 400})
    await talk.until(run, "requires_action")
    await talk.submit(run, call_a="Rain")
    ended = await talk.until(run, "incomplete")
    assert incomplete(ended, limit)
    assert len(model.chats) == 1
    assert ended["usage"] == spent.as_json()
    assert await summed(talk, run) == ended["usage"]


async def test_a_prompt_that_cannot_fit_its_limit_is_not_sent(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, content=sentence(1))
    ended = await talk.until(await talk.run(max_prompt_tokens=20), "incomplete")
    assert incomplete(ended, "max_prompt_tokens")
    assert model.chats == []
    assert ended["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("limits", [{"max_completion_tokens": 16}, {}])
async def test_an_answer_cut_off_by_its_length_stays_as_far_as_it_went(
    talk: Talk, model: ScriptedModel, limits: dict[str, int]
) -> None:
    """Also without a limit of the run's: then it was the model's own."""
    model.script(Reply("One, two", finish="length", usage=Usage(9, 16)))
    run = await talk.run(**limits)
    ended = await talk.until(run, "incomplete")
    assert incomplete(ended, "max_completion_tokens")
    message = (await talk.messages())[-1]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "max_tokens"})
    assert message["content"][0]["text"]["value"] == "One, two"
    assert message["incomplete_at"] is not None
    assert message["completed_at"] is None
    assert [step["status"] for step in await talk.steps(run)] == ["completed"]
    assert await summed(talk, run) == ended["usage"] == Usage(9, 16).as_json()


@pytest.mark.parametrize(
    ("finish", "reason", "of_message"),
    [("length", "max_completion_tokens", "max_tokens"), ("content_filter", "content_filter", "content_filter")],
)
async def test_tokens_spent_without_a_word_are_counted_in_a_step(
    talk: Talk, model: ScriptedModel, finish: Any, reason: str, of_message: str
) -> None:
    """As a reasoning model does that thinks for too long."""
    model.script(Reply(finish=finish, usage=Usage(9, 256)))
    run = await talk.run(max_completion_tokens=256)
    ended = await talk.until(run, "incomplete")
    assert incomplete(ended, reason)
    assert await summed(talk, run) == ended["usage"] == Usage(9, 256).as_json()
    message = (await talk.messages())[-1]
    assert (message["run_id"], message["incomplete_details"]) == (run["id"], {"reason": of_message})


async def test_a_filtered_answer_makes_run_and_message_incomplete(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply(Refuse("I "), finish="content_filter"))
    ended = await talk.until(await talk.run(), "incomplete")
    assert incomplete(ended, "content_filter")
    assert (await talk.messages())[-1]["incomplete_details"] == {"reason": "content_filter"}


async def test_a_call_cut_off_by_its_length_is_not_asked_for(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", '{"city":'), finish="length"))
    run = await talk.run(max_completion_tokens=16)
    assert incomplete(await talk.until(run, "incomplete"), "max_completion_tokens")
    (step,) = await talk.steps(run)
    assert step["step_details"]["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": '{"city":',
        "output": None,
    }
    model.script(Reply("Well then."))
    assert (await talk.until(await talk.run(), "completed"))["usage"] is not None


async def test_a_model_server_that_reports_no_usage_is_counted_by_estimate(
    client: Client, model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", '{"city":"Oslo"}'), usage=None), Reply("Sunny.", usage=None))
    run = await talk.run(max_completion_tokens=100)
    await talk.until(run, "requires_action")
    await talk.submit(run, call_a="Rain")
    usage = (await talk.until(run, "completed"))["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert model.chats[1].body["max_tokens"] < 100
    assert await summed(talk, run) == usage
