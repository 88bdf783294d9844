"""Metadata that a client changes while a run works: every later event shows what a GET shows."""

import asyncio

from support import lasting
from support.client import Client, Event
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.server import RunningServer
from support.talk import WEATHER, Talk

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()


async def label(client: Client, path: str) -> None:
    await client.post(path, {"metadata": {"rated": path[-4:]}})


def labels(events: list[Event], object_: str) -> list[tuple[str, object]]:
    """The metadata that events of this kind of object show, by the part of their names that differs."""
    return [
        (event.name.removeprefix(object_ + "."), event.data["metadata"])
        for event in events
        if event.name != "done" and event.data["object"] == object_
    ]


async def test_events_show_the_metadata_that_the_run_and_its_message_have(
    server: RunningServer, model: ScriptedModel
) -> None:
    client = server.client
    talk = await Talk.begin(client, tools=[WEATHER])
    gate = asyncio.Event()
    model.script(Reply("Once", Silence(gate), " upon.", Call("call_a", "weather", "{}")), Reply("Dry."))
    streaming = asyncio.create_task(talk.stream())
    message = await talk.until_it_speaks()
    run = await talk.newest_run()
    run_path, message_path = f"{talk.path}/runs/{run['id']}", f"{talk.path}/messages/{message['id']}"
    await label(client, message_path)
    await label(client, run_path)
    gate.set()
    told = await streaming
    run_label, message_label = ({"rated": path[-4:]} for path in (run_path, message_path))
    assert labels(told, "thread.message") == [("created", {}), ("in_progress", {}), ("completed", message_label)]
    assert labels(told, "thread.run")[-2:] == [("in_progress", {}), ("requires_action", run_label)]
    assert told[-2].data["metadata"] == (await client.get(run_path))["metadata"]
    assert (await client.get(message_path))["metadata"] == message_label

    later = await talk.submit_streaming(run, call_a="dry")
    assert {str(shown) for _, shown in labels(later, "thread.run")} == {str(run_label)}
