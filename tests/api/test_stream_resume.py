"""A run's stream can be read again, further, late, and by several at once; and a run can be waited for."""

import asyncio
import time
from pathlib import Path

import pytest

from support.client import Client, Event
from support.model_server import Call, Refuse, Reply, ScriptedModel, Silence
from support.sdk import accumulated
from support.server import RunningServer, running_server
from support.talk import WEATHER, Talk
from understudy.store.opening import open_store


async def resumed(talk: Talk, run: dict[str, object], last_id: str = "") -> list[Event]:
    async with talk.client.resume(f"{talk.path}/runs/{run['id']}/stream", last_id) as events:
        return [event async for event in events]


async def test_every_event_has_an_id_and_reading_from_any_of_them_gives_exactly_the_rest(
    client: Client, model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply("Let ", "me ", "see.", Call("call_a", "weather", '{"city":', '"Oslo"}')))
    events = await talk.stream()
    run = events[0].data
    ids = [event.id for event in events[:-1]]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert await resumed(talk, run) == events
    for place, event in enumerate(events[:-2]):
        assert await resumed(talk, run, event.id) == events[place + 1 :], event.id


async def test_two_readers_of_a_running_answer_see_the_same(talk: Talk, model: ScriptedModel) -> None:
    gate = asyncio.Event()
    model.script(Reply("One ", Silence(gate), "two"))
    first = asyncio.create_task(talk.stream())
    await talk.until_it_speaks()
    second = asyncio.create_task(resumed(talk, await talk.newest_run()))
    await asyncio.sleep(0)
    gate.set()
    assert await second == await first


async def test_a_stream_goes_on_behind_requires_action_after_the_outputs(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")), Reply("Sunny."))
    first = await talk.stream()
    run = first[-2].data
    waiting = asyncio.create_task(resumed(talk, run, first[-2].id))
    second = await client.stream(
        f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": "call_a"}]}
    )
    assert await waiting == second


async def test_after_a_restart_the_log_tells_the_whole_run_with_whole_deltas(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with running_server(model, tmp_path) as server:
        talk = await Talk.begin(server.client, tools=[WEATHER])
        model.script(Reply("Let ", "me.", Call("call_a", "weather", '{"city":', '"Oslo"}')), Reply("Su", Refuse("no")))
        first = await talk.stream()
        run = first[-2].data
        submit = f"{talk.path}/runs/{run['id']}/submit_tool_outputs"
        second = await server.client.stream(submit, {"tool_outputs": [{"tool_call_id": "call_a", "output": "21"}]})
    async with running_server(model, tmp_path) as server:
        talk = Talk(server.client, talk.assistant, talk.thread)
        again = await resumed(talk, run)
        further = await resumed(talk, run, again[-2].id)
        assert [event.name for event in again if not event.name.endswith(".delta")] == [
            event.name for event in first if not event.name.endswith(".delta")
        ]
        for told, retold in ((first, again), (second, further)):
            deltas = {event.data["id"]: [] for event in told if event.name.endswith(".delta")}  # type: ignore[var-annotated]
            retold_deltas = {id_: [] for id_ in deltas}  # type: ignore[var-annotated]
            for events, into in ((told, deltas), (retold, retold_deltas)):
                for event in events:
                    if event.name.endswith(".delta"):
                        into[event.data["id"]].append(event.data["delta"])
            assert {id_: accumulated(parts) for id_, parts in deltas.items()} == {
                id_: accumulated(parts) for id_, parts in retold_deltas.items()
            }
        assert [event.name for event in await resumed(talk, run, further[-2].id)] == ["done"]


async def test_a_stream_whose_events_are_no_longer_kept_is_gone(
    server: RunningServer, talk: Talk, model: ScriptedModel
) -> None:
    events = await talk.stream()
    run = events[0].data
    store = await open_store(server.settings.database)
    await store.prune(int(time.time()), limit=100)
    await store.close()
    path = f"{talk.path}/runs/{run['id']}/stream"
    for last_id in ("", events[0].id, events[-3].id):
        gone = await talk.client.request("GET", path, headers={"Last-Event-ID": last_id})
        assert (gone.status, gone.error["type"]) == (404, "invalid_request_error")
        assert gone.error["message"] == (
            f"The events of run '{run['id']}' are no longer kept; its messages and steps are."
        )
    assert [event.name for event in await resumed(talk, run, events[-2].id)] == ["done"]
    assert (await talk.get(run))["status"] == "completed"


@pytest.mark.parametrize("last_id", ["nonsense", "999", "-1", "1.2.3"])
async def test_an_id_that_this_stream_never_sent_is_refused(talk: Talk, model: ScriptedModel, last_id: str) -> None:
    run = (await talk.stream())[0].data
    refused = await talk.client.request(
        "GET", f"{talk.path}/runs/{run['id']}/stream", headers={"Last-Event-ID": last_id}
    )
    assert (refused.status, refused.error["param"]) == (400, "Last-Event-ID")


async def test_waiting_answers_when_the_run_rests(talk: Talk, model: ScriptedModel) -> None:
    gate = asyncio.Event()
    model.script(Reply("One ", Silence(gate), "two"))
    run = await talk.run()
    waiting = asyncio.create_task(talk.client.get(f"{talk.path}/runs/{run['id']}", wait=30))
    await talk.until_it_speaks()
    assert not waiting.done()
    gate.set()
    assert (await waiting)["status"] == "completed"
    assert (await talk.client.get(f"{talk.path}/runs/{run['id']}", wait=30))["status"] == "completed"


async def test_waiting_ends_with_its_time_also_when_the_run_does_not(talk: Talk, model: ScriptedModel) -> None:
    model.script(Reply("One ", Silence()))
    run = await talk.run()
    began = time.monotonic()
    fresh = await talk.client.request("GET", f"{talk.path}/runs/{run['id']}", params={"wait": "0.05"})
    assert (fresh.body["status"], fresh.headers["openai-poll-after-ms"]) == ("in_progress", "250")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("wait", ["-1", "1000", "soon"])
async def test_a_wait_that_cannot_be_kept_is_refused(talk: Talk, model: ScriptedModel, wait: str) -> None:
    run = await talk.run()
    refused = await talk.client.request("GET", f"{talk.path}/runs/{run['id']}", params={"wait": wait})
    assert (refused.status, refused.error["param"]) == (400, "wait")


async def test_a_run_that_another_process_works_on_can_be_waited_for(model: ScriptedModel, tmp_path: Path) -> None:
    async with (
        running_server(model, tmp_path) as back,
        running_server(model, tmp_path, worker=False) as front,
    ):
        gate = asyncio.Event()
        model.script(Reply("One ", Silence(gate), "two"))
        talk = await Talk.begin(front.client)
        run = await talk.run()
        waiting = asyncio.create_task(front.client.get(f"{talk.path}/runs/{run['id']}", wait=30))
        await Talk(back.client, talk.assistant, talk.thread).until_it_speaks()
        gate.set()
        async with asyncio.timeout(10):
            assert (await waiting)["status"] == "completed"
