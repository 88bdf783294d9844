"""Which messages of a thread a run shows its model, and how much of a long thread it reads."""

from collections.abc import Sequence
from typing import Any

import pytest

from support import lasting
from support.client import Client
from support.model_server import Call, Cut, Reply, ScriptedModel
from support.server import RunningServer
from support.store import message, thread
from support.talk import WEATHER, Talk
from understudy.keys import DEFAULT_PROJECT
from understudy.store.opening import open_store
from understudy.tokens import SplintrTokens

WINDOW_TOKENS = 2048

lasting_model, model = lasting.lasting_model, lasting.model
server = lasting.server(upstream_context_window=WINDOW_TOKENS)


def contents(chat: Any) -> list[str]:
    return [message["content"] for message in chat.body["messages"]]


async def thread_of(client: Client, texts: Sequence[str], **assistant: Any) -> Talk:
    talk = await Talk.begin(client, content=texts[0], **assistant)
    for text in texts[1:]:
        await client.post(f"{talk.path}/messages", {"role": "user", "content": text})
    return talk


@pytest.mark.parametrize(
    ("strategy", "shown"),
    [
        ({"type": "last_messages", "last_messages": 1}, ["five"]),
        ({"type": "last_messages", "last_messages": 2}, ["four", "five"]),
        ({"type": "last_messages", "last_messages": 9}, ["one", "two", "three", "four", "five"]),
        ({"type": "auto", "last_messages": 1}, ["one", "two", "three", "four", "five"]),
        ({"type": "auto"}, ["one", "two", "three", "four", "five"]),
    ],
)
async def test_the_newest_messages_are_shown_as_far_as_asked_for(
    client: Client, model: ScriptedModel, strategy: dict[str, Any], shown: list[str]
) -> None:
    talk = await thread_of(client, ["one", "two", "three", "four", "five"], instructions="Be brief.")
    await talk.until(await talk.run(truncation_strategy=strategy), "completed")
    assert contents(model.chats[0]) == ["Be brief.", *shown]


async def test_the_newest_messages_hold_for_the_thread_and_not_for_the_runs_own_rounds(
    client: Client, model: ScriptedModel
) -> None:
    talk = await thread_of(client, ["one", "two"], tools=[WEATHER])
    model.script(Reply("I look.", Call("call_a", "weather", "{}")))
    run = await talk.run(truncation_strategy={"type": "last_messages", "last_messages": 1})
    await talk.until(run, "requires_action")
    await talk.submit(run, call_a="Rain")
    await talk.until(run, "completed")
    call = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert model.chats[1].body["messages"] == [
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a", "content": "Rain"},
    ]


async def test_a_strategy_without_its_number_is_refused(talk: Talk) -> None:
    answer = await talk.client.request(
        "POST",
        f"{talk.path}/runs",
        {"assistant_id": talk.assistant["id"], "truncation_strategy": {"type": "last_messages"}},
    )
    assert answer.status == 400
    assert answer.error["message"] == "Missing required parameter: 'truncation_strategy.last_messages'."


async def test_the_middle_of_a_thread_that_does_not_fit_is_dropped(client: Client, model: ScriptedModel) -> None:
    texts = [f"Message {number}. " + "word " * 100 for number in range(30)]
    talk = await thread_of(client, texts, instructions="Be brief.")
    run = await talk.until(await talk.run(), "completed")
    shown = contents(model.chats[0])
    assert shown[:2] == ["Be brief.", texts[0]]
    assert 3 < len(shown) < 20
    assert shown[2:] == texts[-len(shown) + 2 :]
    assert run["status"] == "completed"


async def test_a_tool_round_is_not_torn_apart_however_little_room_there_is(
    client: Client, model: ScriptedModel
) -> None:
    talk = await thread_of(client, [f"Message {number}. " + "word " * 150 for number in range(10)], tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")), Reply(Call("call_b", "weather", "{}")), Reply("Wet."))
    run = await talk.run()
    for call_id in ("call_a", "call_b"):
        await talk.until(run, "requires_action")
        await talk.submit(run, **{call_id: "rain " * 300})
        await model.until(lambda: len(model.chats) > 1)
    await talk.until(run, "completed")
    roles = [message["role"] for message in model.chats[2].body["messages"]]
    assert roles[-4:] == ["assistant", "tool", "assistant", "tool"]
    assert roles.count("user") < len([one for one in model.chats[0].body["messages"] if one["role"] == "user"])


async def test_what_a_failed_run_had_said_takes_its_room(client: Client, model: ScriptedModel) -> None:
    talk = await thread_of(client, ["First.", "Second."])
    model.script(Reply("word " * 1500, Cut()))
    await talk.until(await talk.run(), "failed")
    await client.post(f"{talk.path}/messages", {"role": "user", "content": "Third."})
    await talk.until(await talk.run(), "completed")
    assert contents(model.chats[1]) == ["First.", "Third."]


async def test_a_run_on_a_thread_of_3000_messages_shows_what_fits(
    client: Client, model: ScriptedModel, server: RunningServer
) -> None:
    long = thread()
    count = SplintrTokens().count
    texts = [f"Message {number}." for number in range(3000)]
    store = await open_store(server.settings.database)
    stored = [message(long.id, text, count(text) + 4) for text in texts]
    await store.add_thread(DEFAULT_PROJECT, long, stored)
    await store.close()
    assistant = await client.post("/v1/assistants", {"model": "gpt-4o"})
    talk = Talk(client, assistant, {"id": long.id})
    await talk.until(await talk.run(), "completed")
    shown = contents(model.chats[0])
    assert shown[0] == texts[0]
    assert shown[1:] == texts[-len(shown) + 1 :]
    assert WINDOW_TOKENS / 3 < sum(count(text) + 4 for text in shown) < WINDOW_TOKENS
