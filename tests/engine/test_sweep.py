"""What must happen although nobody asks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import open_house
from support.model_server import ScriptedModel
from support.talk import polled
from understudy.core.limits import FACTS_KEEP_SECONDS
from understudy.engine.sweep import Sweep


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


async def test_facts_are_kept_for_as_long_as_is_set_and_then_all_let_go(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, clock=lambda: now) as house:
        now = 1_760_000_000.0
        runs = [await house.start_run() for _ in range(70)]  # more facts than one transaction takes
        for run in runs:
            await house.until(run, "completed")
        sweep = Sweep(house.store, house.runs, house.files, house.clock, facts_keep_seconds=100)
        now += 99
        await sweep.prune()
        assert all([await house.facts(run) for run in runs])
        now += 1
        await sweep.prune()
        assert not any([await house.facts(run) for run in runs])


async def test_a_worker_lets_old_facts_go_by_itself(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, prune_seconds=0.01, clock=lambda: now) as house:
        now = 1_760_000_000.0
        run = await house.start_run()
        await house.until(run, "completed")
        await asyncio.sleep(0.03)  # what is to be seen is that nothing happens
        assert await house.facts(run)
        now += FACTS_KEEP_SECONDS

        async def look() -> bool | None:
            return None if await house.facts(run) else True

        await polled(look)
