"""Runs and messages that wait for a busy thread, where the operator or the request asks for it: docs/queue.md."""

import asyncio
from typing import Any

import pytest

from support import lasting
from support.answers import assert_refused
from support.client import Client
from support.model_server import Call, Failure, Received, Reply, ScriptedModel, Silence
from support.server import RunningServer
from support.talk import WEATHER, Talk

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()
queueing = lasting.server(busy_thread="queue", runs_per_worker=2)

QUEUE = {"Understudy-Busy-Thread": "queue"}
REFUSE = {"Understudy-Busy-Thread": "refuse"}


@pytest.fixture
async def talk(client: Client) -> Talk:
    """On an empty thread, with requests that ask to wait."""
    begun = await Talk.begin(client.with_headers(QUEUE), tools=[WEATHER])
    begun.thread = await client.post("/v1/threads")
    begun.path = f"/v1/threads/{begun.thread['id']}"
    return begun


async def ask(talk: Talk, content: str) -> dict[str, Any]:
    """A message, and a run that answers it: without a script the model says what it was asked."""
    await say(talk, content)
    return await talk.run()


async def say(talk: Talk, content: str) -> dict[str, Any]:
    message: dict[str, Any] = await talk.client.post(f"{talk.path}/messages", {"role": "user", "content": content})
    return message


def conversation(asked: Received) -> list[str]:
    return [message["content"] for message in asked.body["messages"]]


def contents(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"][0]["text"]["value"] for message in messages if message["content"]]


async def answers(talk: Talk, *runs: dict[str, Any]) -> list[str]:
    """What each of these runs said, in turn."""
    said = {message["run_id"]: message for message in await talk.messages() if message["run_id"]}
    return contents([said[run["id"]] for run in runs])


async def test_runs_and_messages_take_their_turns(talk: Talk, model: ScriptedModel) -> None:
    gate = asyncio.Event()
    model.script(Reply(Silence(gate), "a1"))
    first = await ask(talk, "q1")
    second = await ask(talk, "q2")
    third = await talk.run(additional_messages=[{"role": "user", "content": "q3"}])
    await say(talk, "q4")
    fourth = await ask(talk, "q5")
    runs = [first, second, third, fourth, await talk.run(instructions="Once more.")]
    assert [run["status"] for run in runs] == ["queued"] * 5
    assert [(await talk.get(run))["status"] for run in runs[1:]] == ["queued"] * 4
    assert len({message["id"] for message in await talk.messages() if message["role"] == "user"}) == 5
    gate.set()
    ended = [await talk.until(run, "completed") for run in runs]
    assert [conversation(asked) for asked in model.chats] == [
        ["q1"],
        ["q1", "a1", "q2"],
        ["q1", "a1", "q2", "q2", "q3"],
        ["q1", "a1", "q2", "q2", "q3", "q3", "q4", "q5"],
        ["Once more.", "q1", "a1", "q2", "q2", "q3", "q3", "q4", "q5", "q5"],
    ]
    assert await answers(talk, *runs) == ["a1", "q2", "q3", "q5", "q5"]
    assert sorted(ended, key=lambda run: (run["started_at"], run["completed_at"])) == ended
    # Lists keep the order in which things were added.
    assert contents(await talk.messages()) == ["q1", "q2", "q3", "q4", "q5", "a1", "q2", "q3", "q5", "q5"]


async def test_the_stream_of_a_waiting_run_goes_on_when_its_turn_comes(talk: Talk, model: ScriptedModel) -> None:
    gate = asyncio.Event()
    model.script(Reply(Silence(gate), "a1"))
    first = await ask(talk, "q1")
    await say(talk, "q2")
    body = {"assistant_id": talk.assistant["id"]}
    async with talk.client.open_stream(f"{talk.path}/runs", body) as events:
        shown = [await anext(events) for _ in range(2)]
        assert (await talk.get(first))["status"] == "in_progress"
        gate.set()
        shown += [event async for event in events]
    names = [event.name for event in shown]
    assert names[:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert names[-2:] == ["thread.run.completed", "done"]
    assert await answers(talk, shown[0].data) == ["q2"]


async def test_a_message_in_the_middle_of_a_run_is_for_the_next_one(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply(Call("call_a", "weather", "{}")), Reply("a1"))
    first = await ask(talk, "q1")
    await talk.until(first, "requires_action")
    await say(talk, "q2")
    second = await talk.run()
    await talk.submit(first, call_a="Sunny.")
    await talk.until(second, "completed")
    told, after_outputs, next_run = model.chats
    assert conversation(told) == ["q1"]
    assert [message["role"] for message in after_outputs.body["messages"]] == ["user", "assistant", "tool"]
    assert conversation(next_run) == ["q1", "a1", "q2"]


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (Failure(400, "No."), "failed"),
        (Reply("Half", finish="length"), "incomplete"),
        (Reply(Silence()), "cancelled"),
        (Reply(Call("call_a", "weather", "{}")), "cancelled"),
    ],
    ids=["failed", "incomplete", "cancelled", "cancelled-waiting-for-outputs"],
)
async def test_however_the_active_run_ends_the_next_one_begins(
    talk: Talk, model: ScriptedModel, answer: Any, end: str
) -> None:
    gate = asyncio.Event()
    model.script(Reply(Silence(gate), "a0"), answer)
    opening = await ask(talk, "q0")
    first, second = await ask(talk, "q1"), await ask(talk, "q2")
    gate.set()
    await talk.until(opening, "completed")
    if end == "cancelled":
        resting = isinstance(answer.parts[0], Call)
        await talk.until(first, "requires_action" if resting else "in_progress")
        await talk.cancel(first)
    await talk.until(first, end)
    await talk.until(second, "completed")
    assert await answers(talk, second) == ["q2"]


async def test_a_waiting_run_that_is_cancelled_leaves_the_line_and_its_messages(
    talk: Talk, model: ScriptedModel
) -> None:
    gate = asyncio.Event()
    model.script(Reply(Silence(gate), "a1"))
    first, second, third = [await ask(talk, content) for content in ("q1", "q2", "q3")]
    assert (await talk.cancel(second))["status"] == "cancelling"
    assert (await talk.get(second))["status"] == "cancelled"
    assert [(await talk.get(run))["status"] for run in (first, third)] == ["in_progress", "queued"]
    gate.set()
    await talk.until(third, "completed")
    assert [conversation(asked) for asked in model.chats] == [["q1"], ["q1", "a1", "q2", "q3"]]
    refused = await talk.client.request("POST", f"{talk.path}/runs/{second['id']}/cancel")
    assert_refused(refused, "Cannot cancel run with status 'cancelled'.")


async def test_a_deleted_thread_ends_the_streams_of_those_that_waited(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply(Silence()))
    await ask(talk, "q1")
    body = {"assistant_id": talk.assistant["id"]}
    async with talk.client.open_stream(f"{talk.path}/runs", body) as events:
        shown = [await anext(events) for _ in range(2)]
        await talk.client.delete(talk.path)
        shown += [event async for event in events]
    assert [event.name for event in shown][2:] == ["error", "done"]
    await model.until(lambda: model.disconnects == 1)


async def test_of_twenty_runs_at_once_all_end_in_the_order_of_their_creation(talk: Talk, model: ScriptedModel) -> None:
    async def begin(content: str) -> dict[str, Any]:
        return await talk.run(additional_messages=[{"role": "user", "content": content}])

    questions = [f"q{number}" for number in range(20)]
    begun = dict(zip(questions, await asyncio.gather(*map(begin, questions)), strict=True))
    page = await talk.client.get(f"{talk.path}/runs", order="asc", limit=100)
    created = [run["id"] for run in page["data"]]
    in_order = sorted(questions, key=lambda question: created.index(begun[question]["id"]))
    for question in in_order:
        await talk.until(begun[question], "completed", seconds=20)
    assert [conversation(asked)[-1] for asked in model.chats] == in_order
    assert conversation(model.chats[-1]) == [text for question in in_order for text in (question, question)][:-1]
    listed = await talk.client.get(f"{talk.path}/messages", limit=100)
    assert sorted(contents(listed["data"])) == sorted(questions * 2)


# --- who asks for it


async def test_the_vendors_refusals_stay_the_default(client: Client, model: ScriptedModel) -> None:
    model.script(Reply(Silence()))
    talk = await Talk.begin(client)
    active = await talk.run()
    await assert_busy(talk, active)
    await assert_busy(Talk(client.with_headers(REFUSE), talk.assistant, talk.thread), active)
    await talk.cancel(active)


async def assert_busy(talk: Talk, active: dict[str, Any]) -> None:
    thread_id = talk.thread["id"]
    run = await talk.client.request("POST", f"{talk.path}/runs", {"assistant_id": talk.assistant["id"]})
    assert_refused(run, f"Thread {thread_id} already has an active run {active['id']}.")
    message = await talk.client.request("POST", f"{talk.path}/messages", {"role": "user", "content": "q"})
    assert_refused(message, f"Can't add messages to {thread_id} while a run {active['id']} is active.")


async def test_the_header_wins_over_the_setting(queueing: RunningServer, model: ScriptedModel) -> None:
    model.script(Reply(Silence()))
    talk = await Talk.begin(queueing.client)
    active = await talk.run()
    waiting = await ask(talk, "q2")
    await assert_busy(Talk(talk.client.with_headers(REFUSE), talk.assistant, talk.thread), active)
    await talk.cancel(active)
    await talk.until(waiting, "completed")


async def test_those_that_wait_take_no_place_of_the_worker(queueing: RunningServer, model: ScriptedModel) -> None:
    gate = asyncio.Event()
    model.script(Reply(Silence(gate), "a1"))
    talk, other = await Talk.begin(queueing.client), await Talk.begin(queueing.client)
    runs = [await talk.run() for _ in range(4)]
    await other.until(await other.run(), "completed")
    gate.set()
    for run in runs:
        await talk.until(run, "completed")


async def test_a_header_that_says_neither_is_refused(talk: Talk) -> None:
    wrong = talk.client.with_headers({"Understudy-Busy-Thread": "maybe"})
    words = "The header 'Understudy-Busy-Thread' must be one of: refuse, queue."
    message = await wrong.request("POST", f"{talk.path}/messages", {"role": "user", "content": "q"})
    assert_refused(message, words, code="invalid_value")
    run = await wrong.request("POST", f"{talk.path}/runs", {"assistant_id": talk.assistant["id"]})
    assert_refused(run, words, code="invalid_value")
