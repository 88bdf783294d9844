"""What must happen although nobody asks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import open_house
from support.model_server import ScriptedModel
from support.store import NOON, PROJECT
from support.talk import polled
from support.vectors import added_file, added_store, indexed, stored
from understudy.core.limits import FACTS_KEEP_SECONDS
from understudy.core.vector_stores import DAY_SECONDS
from understudy.engine.sweep import Sweep
from understudy.wire.vector_stores import StoreExpiresAfter


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


async def test_unused_vector_stores_expire_and_what_is_let_go_is_deleted(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, clock=lambda: now) as house:
        now = float(NOON)
        store, week = house.store, StoreExpiresAfter(anchor="last_active_at", days=7)
        file_id = await added_file(store)
        expiring = await added_store(store, file_id, expires_after=week)
        lasting = await added_store(store, file_id)
        jobs = await indexed(store, "one", "two")
        sweep = Sweep(store, house.runs, house.files, house.clock)
        now += 7 * DAY_SECONDS - 1
        await sweep.prune()
        assert (await stored(store, expiring)).store.status == "completed"
        now += 1
        await store.detach_file(PROJECT, lasting, file_id)
        await sweep.prune()
        assert (await stored(store, expiring)).store.status == "expired"
        assert (await stored(store, lasting)).store.status == "completed"
        assert [list(await store.index_rows(job.generation, None)) for job in jobs] == [[], []]
