"""A client that leaves ends its stream and never the run; a thread that is deleted ends both."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support import lasting
from support.client import Client, Event
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.server import RunningServer, running_server
from support.talk import WEATHER, Talk, polled, sent
from understudy.store.opening import open_store
from understudy.store.operations import Op, Query

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()


async def read_until(events: AsyncIterator[Event], name: str) -> None:
    async for event in events:
        if event.name == name:
            return
    raise AssertionError(f"the stream ended without {name}")


# --- leaving


@pytest.mark.parametrize("after", ["thread.run.created", "thread.message.created", "thread.message.delta"])
async def test_a_dropped_stream_leaves_a_run_that_ends_whole(talk: Talk, model: ScriptedModel, after: str) -> None:
    gate = asyncio.Event()
    model.script(Reply("Once ", Silence(gate), "upon ", "a time."))
    body = {"assistant_id": talk.assistant["id"]}
    async with talk.client.open_stream(f"{talk.path}/runs", body) as events:
        await read_until(events, after)
    gate.set()
    run = await talk.until(await talk.newest_run(), "completed")
    message = (await talk.messages())[-1]
    assert (message["status"], message["content"][0]["text"]["value"]) == ("completed", "Once upon a time.")
    assert run["usage"]["total_tokens"] == 30
    assert model.disconnects == 0


async def test_a_dropped_stream_of_outputs_leaves_a_run_that_ends(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    gate = asyncio.Event()
    model.script(Reply(Call("call_a", "weather", "{}")), Reply("It ", Silence(gate), "rains."))
    run = await talk.run()
    await talk.until(run, "requires_action")
    path = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
    async with client.open_stream(path, sent({"call_a": "Rain"})) as events:
        await read_until(events, "thread.message.delta")
    gate.set()
    await talk.until(run, "completed")
    assert (await talk.messages())[-1]["content"][0]["text"]["value"] == "It rains."


async def test_a_request_dropped_before_its_answer_is_written_leaves_a_run_that_ends(
    server: RunningServer, model: ScriptedModel
) -> None:
    """Written or not: a run that was is worked on, and never left with nobody to end it."""
    body = {"stream": True}
    for moment in range(6):
        talk = await Talk.begin(server.client)
        async with aiohttp.ClientSession(server.url, headers={"Authorization": f"Bearer {server.key}"}) as session:
            asking = asyncio.create_task(
                session.post(f"{talk.path}/runs", json={**body, "assistant_id": talk.assistant["id"]})
            )
            for _ in range(moment * 4):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        runs = (await talk.client.get(f"{talk.path}/runs"))["data"]
        for run in runs:
            await talk.until(run, "completed")


async def test_a_reader_that_leaves_takes_nothing_from_another(talk: Talk, model: ScriptedModel) -> None:
    gate = asyncio.Event()
    model.script(Reply("One ", Silence(gate), "two."))
    staying = asyncio.create_task(talk.stream())
    run = await talk.newest_run()
    async with talk.client.resume(f"{talk.path}/runs/{run['id']}/stream") as events:
        await read_until(events, "thread.message.delta")
    gate.set()
    events_of_all = await staying
    said = [event.data["delta"]["content"][0]["text"]["value"] for event in events_of_all if "delta" in event.name]
    assert "".join(said) == "One two."
    assert events_of_all[-2].name == "thread.run.completed"


async def test_a_stream_does_not_go_on_behind_outputs_that_another_request_submits(
    client: Client, model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")), Reply("It rains."))
    events = await talk.stream()
    assert [event.name for event in events][-2:] == ["thread.run.requires_action", "done"]
    run = events[-2].data
    await talk.submit(run, call_a="Rain")
    await talk.until(run, "completed")


async def test_the_continuation_begins_with_the_step_that_the_outputs_complete(
    client: Client, model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")), Reply("It rains."))
    run = (await talk.stream())[-2].data
    events = await talk.submit_streaming(run, call_a="Rain")
    assert [event.name for event in events][:3] == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
    ]
    assert events[-1].name == "done"


# --- deleting


async def rows_left(server: RunningServer) -> dict[str, int]:
    """How many rows each table of threads has."""

    def count(table: str) -> Op[int]:
        rows = yield Query(f"SELECT count(*) FROM {table}")
        return int(rows[0][0])

    store = await open_store(server.settings.database)
    try:
        return {table: await store._read(count(table)) for table in ("threads", "messages", "runs", "steps", "facts")}
    finally:
        await store.close()


@pytest.fixture
async def fresh(model: ScriptedModel, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(model, tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    "answer",
    [
        Reply(Silence(before_headers=True)),
        Reply(Silence()),
        Reply("Once upon", Silence()),
        Reply(Call("call_a", "weather", "{"), Silence()),
    ],
    ids=["before headers", "before a word", "in text", "in a call"],
)
async def test_deleting_the_thread_lets_the_run_go_and_leaves_nothing(
    fresh: RunningServer, model: ScriptedModel, answer: Reply
) -> None:
    talk = await Talk.begin(fresh.client, tools=[WEATHER])
    model.script(answer)
    streaming = asyncio.create_task(talk.stream())
    run = await talk.newest_run()
    await model.until(lambda: bool(model.chats))
    if not isinstance(answer.parts[0], Silence):
        await polled(lambda: begun_steps(talk, run))
    await fresh.client.delete(talk.path)
    events = await streaming
    assert [event.name for event in events][-2:] == ["error", "done"]
    assert set(events[-2].data["error"]) == {"message", "type", "param", "code"}
    await model.until(lambda: model.disconnects == 1)
    gone = await fresh.client.request("GET", f"{talk.path}/runs/{run['id']}")
    assert (gone.status, gone.error["message"]) == (404, f"No thread found with id '{talk.thread['id']}'.")
    assert set((await rows_left(fresh)).values()) == {0}


async def test_deleting_the_thread_of_a_run_that_waits_leaves_nothing(
    fresh: RunningServer, model: ScriptedModel
) -> None:
    talk = await Talk.begin(fresh.client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")))
    run = (await talk.stream())[-2].data
    await fresh.client.delete(talk.path)
    late = await fresh.client.request(
        "POST", f"{talk.path}/runs/{run['id']}/submit_tool_outputs", sent({"call_a": "Rain"})
    )
    assert (late.status, late.error["message"]) == (404, f"No thread found with id '{talk.thread['id']}'.")
    cancel = await fresh.client.request("POST", f"{talk.path}/runs/{run['id']}/cancel")
    assert cancel.status == 404
    assert set((await rows_left(fresh)).values()) == {0}


async def test_deleting_threads_under_runs_at_any_moment_leaves_nothing(
    fresh: RunningServer, model: ScriptedModel
) -> None:
    talks = [await Talk.begin(fresh.client) for _ in range(12)]

    async def delete_under_way(moment: int, talk: Talk) -> list[Event]:
        streaming = asyncio.create_task(talk.stream())
        await talk.newest_run()
        for _ in range(moment * 3):
            await asyncio.sleep(0)
        await fresh.client.delete(talk.path)
        async with asyncio.timeout(5):
            return await streaming

    async def settled() -> Any:
        return await asyncio.gather(*(delete_under_way(moment, talk) for moment, talk in enumerate(talks)))

    for events in await settled():
        assert events[-1].name == "done"
        assert events[-2].name in ("error", "thread.run.completed")
    await asyncio.sleep(0.02)  # whatever a run loop still wrote would be there by now
    assert set((await rows_left(fresh)).values()) == {0}


async def begun_steps(talk: Talk, run: dict[str, Any]) -> list[dict[str, Any]] | None:
    return await talk.steps(run) or None
