"""`SECONDS=600 python -m soak`: exits with 1 when something is true at the end that must not be. `SEED` repeats one."""

import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import aiohttp

from soak.fleet import LIFETIME_SECONDS, Fleet
from soak.ledger import active_runs, growth_bytes_per_minute, violations
from soak.load import Load, teach
from support.client import Client
from support.model_server import ScriptedModel
from support.server import KEY
from understudy.core.limits import LEASE_SECONDS

CLIENTS: Final = 16
END_SECONDS: Final = LIFETIME_SECONDS + 2 * LEASE_SECONDS + 10
# A leak of a kilobyte for each run is more than this; what caches still take after half the time is less.
GROWTH_BYTES_PER_MINUTE_MAX: Final = 4 * 1024 * 1024
MEASURED_SECONDS_MIN: Final = 300  # a shorter soak says nothing about memory
LOOK_SECONDS: Final = 0.5
ASKED_MAX: Final = 200
SHOWN_MAX: Final = 20


async def soak(seconds: float, chance: random.Random, directory: Path) -> list[str]:
    """What must not be, in words."""
    async with (
        ScriptedModel(strict=False) as model,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        teach(model)
        fleet = Fleet(model.base_url, directory, chance)
        load = Load(fleet.urls, session, chance)
        await fleet.start()
        try:
            tasks = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
            tasks.append(asyncio.create_task(fleet.watch()))
            await fleet.suffer(seconds)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            found = await until_all_rest(directory / "understudy.db")
            found += await locked(Client(session, KEY, url=fleet.urls()[0]), chance, load.threads)
        finally:
            await fleet.stop()
    ended: Counter[str] = Counter()
    found += [*load.violations, *fleet.crashes, *violations(directory / "understudy.db", load.threads, ended)]
    growth = growth_bytes_per_minute(fleet.resident)
    if seconds >= MEASURED_SECONDS_MIN and growth > GROWTH_BYTES_PER_MINUTE_MAX:
        found.append(f"memory grows by {growth / 2**20:.1f} MiB a minute")
    for title, counts in (("faults", fleet.faults), ("clients", load.counts), ("runs", ended)):
        print(f"{title}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    sizes = [size for _, size in fleet.resident]
    print(
        f"memory of the steady server: {sizes[0] / 2**20:.0f} MiB at first, {sizes[-1] / 2**20:.0f} MiB at last; ",
        end="",
    )
    print(f"in the second half {growth / 2**20:+.2f} MiB a minute")
    return found


async def until_all_rest(database: Path) -> list[str]:
    """Waits as long as a run may live and its lease may have to run out."""
    deadline = time.monotonic() + END_SECONDS
    while (active := active_runs(database)) and time.monotonic() < deadline:  # noqa: ASYNC110 - rows tell nobody
        await asyncio.sleep(LOOK_SECONDS)
    return [f"{active} runs have no end"] if active else []


async def locked(client: Client, chance: random.Random, threads: set[str]) -> list[str]:
    """Whether some of the threads refuse a message."""
    found = []
    for thread in chance.sample(sorted(threads), min(len(threads), ASKED_MAX)):
        answer = await client.request("POST", f"/v1/threads/{thread}/messages", {"role": "user", "content": "Thanks."})
        if answer.status != 200:
            found.append(f"{thread} is locked: {answer.body}")
    return found


def main() -> int:
    seconds = float(os.environ.get("SECONDS", "600"))
    seed = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
    print(f"{seconds:.0f} seconds with SEED={seed}", flush=True)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # killed servers hang up on the model server
    with tempfile.TemporaryDirectory(prefix="understudy-soak-") as directory:
        found = asyncio.run(soak(seconds, random.Random(seed), Path(directory)))
    for violation in found[:SHOWN_MAX]:
        print(f"VIOLATION: {violation}")
    print(f"{len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
