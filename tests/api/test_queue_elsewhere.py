"""The line in front of a thread when several processes share the rows, and when one of them is killed."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from support.client import Client
from support.model_server import Call, Reply, ScriptedModel, model_in_thread
from support.server import KEY, running_server, server_process
from support.talk import WEATHER, Talk


async def ask(talk: Talk, content: str) -> dict[str, Any]:
    return await talk.run(additional_messages=[{"role": "user", "content": content}])


def last_words(model: ScriptedModel) -> list[str]:
    return [chat.body["messages"][-1]["content"] for chat in model.chats]


async def test_the_worker_may_be_elsewhere_and_have_one_place(tmp_path: Path) -> None:
    async with ScriptedModel() as model, running_server(model, tmp_path, worker=False, busy_thread="queue") as front:
        talk = await Talk.begin(front.client)
        runs = [await ask(talk, f"q{number}") for number in range(5)]
        assert [(await talk.get(run))["status"] for run in runs] == ["queued"] * 5
        async with running_server(model, tmp_path, runs_per_worker=1):
            for run in runs:
                await talk.until(run, "completed")
        assert last_words(model) == [f"q{number}" for number in range(5)]


async def test_time_passes_for_those_that_wait(tmp_path: Path) -> None:
    """A second process writes the runs that live for a second only; the first one works, and sweeps."""
    async with (
        ScriptedModel() as model,
        running_server(model, tmp_path, busy_thread="queue") as server,
        running_server(model, tmp_path, busy_thread="queue", worker=False, run_lifetime_seconds=1) as brief,
    ):
        await asyncio.gather(
            _waiting_expires(server.client, brief.client), _active_expires(server.client, brief.client)
        )


async def _waiting_expires(client: Client, brief: Client) -> None:
    talk = await Talk.begin(client, content="@hang Well")
    active = await talk.run()
    waiting = await Talk(brief, talk.assistant, talk.thread).run()
    last = await ask(talk, "@say Done")
    expired = await talk.until(waiting, "expired")
    assert (expired["started_at"], expired["expires_at"]) == (None, expired["created_at"] + 1)
    assert [(await talk.get(run))["status"] for run in (active, last)] == ["in_progress", "queued"]
    await talk.cancel(active)
    await talk.until(last, "completed")


async def _active_expires(client: Client, brief: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    active = await Talk(brief, talk.assistant, talk.thread).run()
    waiting = await ask(talk, "@say Done")
    await talk.until(active, "expired")
    await talk.until(waiting, "completed")


async def test_the_line_goes_on_where_a_killed_process_left_it(tmp_path: Path) -> None:
    with model_in_thread(ScriptedModel()) as model:
        model.script(Reply(Call("call_a", "weather", "{}")), Reply("a0"))
        with server_process(model.base_url, tmp_path, busy_thread="queue") as server:
            async with aiohttp.ClientSession(server.url) as session:
                talk = await Talk.begin(Client(session, KEY), tools=[WEATHER])
                runs = [await ask(talk, f"q{number}") for number in range(4)]
                await talk.until(runs[0], "requires_action")
                await talk.cancel(runs[2])
            server.kill()
        async with running_server(model, tmp_path) as restarted:
            talk = Talk(restarted.client, talk.assistant, talk.thread)
            await talk.submit(runs[0], call_a="Sunny.")
            for run in (runs[1], runs[3]):
                await talk.until(run, "completed")
        assert last_words(model)[2:] == ["q1", "q3"]
        said = [message["content"] for message in model.chats[-1].body["messages"]]
        assert said == ["What is 2+2?", "q0", "a0", "q1", "q1", "q2", "q3"]
