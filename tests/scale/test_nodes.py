"""Several servers on one PostgreSQL database: what one begins, another one follows, cancels and ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from support.client import Event
from support.model_server import Reply, ScriptedModel, Silence
from support.postgres import database_url
from support.redis import shared_redis
from support.server import RunningServer, running_server
from support.talk import Talk, polled

TOKENS = [f"w{number} " for number in range(30)]


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as made:
        yield made


@pytest.fixture(params=["redis", "postgres alone"])
async def nodes(
    request: pytest.FixtureRequest, model: ScriptedModel, tmp_path: Path
) -> AsyncIterator[list[RunningServer]]:
    """Two that only answer, and one that works."""
    shared: dict[str, Any] = {"database_url": database_url(tmp_path)}
    if request.param == "redis":
        shared["redis_url"] = shared_redis().url
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(running_server(model, tmp_path, worker=works, **shared))
            for works in (False, False, True)
        ]


def shown(events: Sequence[Event]) -> list[tuple[str, str | None]]:
    return [(event.name, event.id) for event in events]


async def test_a_stream_opened_on_one_node_follows_a_run_that_another_works_on(
    nodes: list[RunningServer], model: ScriptedModel, request: pytest.FixtureRequest
) -> None:
    front, other, _ = nodes
    gate = asyncio.Event()
    model.script(Reply(*TOKENS[:10], Silence(gate), *TOKENS[10:]))
    talk = await Talk.begin(front.client)
    reading = asyncio.create_task(talk.stream())
    run = await polled(lambda: _begun(talk))
    late = asyncio.create_task(_read(other, talk, run))
    await asyncio.sleep(0.1)  # both are to be there when the model goes on
    gate.set()
    events, seen_late = await reading, await late
    said = "".join(
        event.data["delta"]["content"][0]["text"]["value"] for event in events if event.name == "thread.message.delta"
    )
    assert said == "".join(TOKENS)
    assert [event.name for event in events][-2:] == ["thread.run.completed", "done"]
    assert [event.name for event in seen_late][-2:] == ["thread.run.completed", "done"]
    if "redis" in request.node.name:
        assert len([event for event in events if event.name == "thread.message.delta"]) == len(TOKENS)
        assert shown(events[:-1]) == shown(seen_late[:-1])


async def _begun(talk: Talk) -> dict[str, Any] | None:
    runs: list[dict[str, Any]] = (await talk.client.get(f"{talk.path}/runs"))["data"]
    return runs[0] if runs and runs[0]["status"] == "in_progress" else None


async def _read(server: RunningServer, talk: Talk, run: dict[str, Any]) -> list[Event]:
    async with server.client.resume(f"{talk.path}/runs/{run['id']}/stream") as events:
        return [event async for event in events]


async def test_a_run_is_cancelled_from_another_node_within_a_second(
    nodes: list[RunningServer], model: ScriptedModel
) -> None:
    front, other, _ = nodes
    model.script(Reply("Well", Silence()))
    talk = await Talk.begin(front.client)
    run = await talk.run()
    await talk.until(run, "in_progress")
    begun = time.monotonic()
    await Talk(other.client, talk.assistant, talk.thread).cancel(run)
    await talk.until(run, "cancelled")
    assert time.monotonic() - begun < 1.0


async def test_a_run_that_nobody_here_works_on_begins_at_once_elsewhere(
    nodes: list[RunningServer], model: ScriptedModel
) -> None:
    talk = await Talk.begin(nodes[0].client)
    begun = time.monotonic()
    for _ in range(3):
        await talk.until(await talk.run(), "completed")
    assert time.monotonic() - begun < 1.0  # less than one look of the sweep for each
