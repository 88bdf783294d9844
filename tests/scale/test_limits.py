"""Bounds of runs, over several servers on one database: never exceeded, and a free place is taken within a second."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from support.model_server import Reply, ScriptedModel, Silence
from support.postgres import database_url
from support.projects import client_of
from support.redis import shared_redis
from support.server import RunningServer, running_server
from support.talk import Talk


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as made:
        yield made


@pytest.fixture(params=["redis", "postgres alone"])
async def nodes(
    request: pytest.FixtureRequest, model: ScriptedModel, tmp_path: Path
) -> AsyncIterator[list[RunningServer]]:
    """Three that work, with two runs of each project at a time, and three at the model server."""
    shared: dict[str, Any] = {"database_url": database_url(tmp_path), "runs_per_project": 2, "upstream_runs_max": 3}
    if request.param == "redis":
        shared["redis_url"] = shared_redis().url
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(running_server(model, tmp_path, **shared)) for _ in range(3)]


async def test_bounds_hold_over_all_nodes_and_both_projects_have_their_turns(
    nodes: list[RunningServer], model: ScriptedModel
) -> None:
    gates = [asyncio.Event() for _ in range(14)]
    model.script(*(Reply("x", Silence(gate)) for gate in gates))
    busy = [await Talk.begin(nodes[at % 3].client, content="busy") for at in range(10)]
    others = [await client_of(node, "other") for node in nodes]
    other = [await Talk.begin(others[at % 3], content="other") for at in range(4)]
    runs = [(talk, await talk.run()) for talk in [*busy, *other]]
    for ended, gate in enumerate(gates):
        began = time.monotonic()
        least = min(ended + 2, 14)  # for the last ones of one project there are two places
        await model.until(lambda least=least: len(model.chats) >= least)
        assert time.monotonic() - began < 1.0
        await asyncio.sleep(0.02)
        at_work = [chat.body["messages"][-1]["content"] for chat in model.chats[ended:]]
        assert len(at_work) <= 3
        assert max(at_work.count("busy"), at_work.count("other")) <= 2
        gate.set()
    for talk, run in runs:
        await talk.until(run, "completed")
    asked = [chat.body["messages"][-1]["content"] for chat in model.chats]
    assert asked[:3].count("busy") == 2
    assert asked[:12].count("other") == 4, "a place of three at least was theirs for as long as they waited"


async def test_a_run_that_waits_for_a_place_is_queued_and_may_be_cancelled(
    nodes: list[RunningServer], model: ScriptedModel
) -> None:
    gate = asyncio.Event()
    model.script(*[Reply("x", Silence(gate))] * 2)
    talks = [await Talk.begin(node.client) for node in nodes]
    working, _, waiting = [await talk.run() for talk in talks]
    await model.until(lambda: len(model.chats) == 2)
    assert (await talks[2].get(waiting))["status"] == "queued"
    await talks[2].cancel(waiting)
    await talks[2].until(waiting, "cancelled")
    gate.set()
    await talks[0].until(working, "completed")
