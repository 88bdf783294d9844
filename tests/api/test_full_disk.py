"""A disk that is full: writes are refused in words, reads go on, nothing acknowledged is lost, and room is enough."""

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support.client import Answer
from support.clock import Clock, clock_set
from support.model_server import Reply, ScriptedModel, Silence
from support.server import ON_POSTGRES, RunningServer, running_server
from support.talk import Talk, polled
from understudy import app
from understudy.core.limits import LEASE_SECONDS
from understudy.store.operations import Op, Query
from understudy.store.sqlite import SqliteStore, open_sqlite

PAGES = 400
LONG = "x" * 4000


class Disk:
    """Where a server keeps its rows: so many pages of it, and no more."""

    def __init__(self) -> None:
        self._store: SqliteStore | None = None

    async def open(self, path: Path) -> SqliteStore:
        self._store = await open_sqlite(path, pages_max=PAGES)
        return self._store

    async def make_room(self) -> None:
        def grow() -> Op[None]:
            yield Query(f"PRAGMA max_page_count = {PAGES * 100}")

        assert self._store is not None
        await self._store._write(grow)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as clock:
        yield clock


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if ON_POSTGRES:
        pytest.skip("a disk that is full can only be had for a SQLite file")
    made = Disk()
    monkeypatch.setattr(app, "open_store", made.open)
    return made


@pytest.fixture
async def server(model: ScriptedModel, clock: Clock, disk: Disk, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(model, tmp_path) as running:
        yield running


async def fill(talk: Talk) -> list[str]:
    """Writes messages until there is no room; the ids of those that were acknowledged."""
    acknowledged: list[str] = []
    write = partial(talk.client.request, "POST", f"{talk.path}/messages", {"role": "user", "content": LONG})
    while (answer := await write()).status == 200:
        acknowledged.append(answer.body["id"])
        assert len(acknowledged) < PAGES
    check_refused(answer)
    return acknowledged


def check_refused(answer: Answer) -> None:
    assert (answer.status, answer.error) == (
        503,
        {
            "message": "The server cannot read or write its data just now.",
            "type": "server_error",
            "param": None,
            "code": None,
        },
    )


async def test_writes_are_refused_reads_go_on_and_nothing_acknowledged_is_lost(
    server: RunningServer, disk: Disk, model: ScriptedModel
) -> None:
    client = server.client
    talk = await Talk.begin(client)
    acknowledged = await fill(talk)
    for path, body in (
        ("/v1/threads", {"messages": [{"role": "user", "content": LONG * 5}]}),
        ("/v1/assistants", {"model": "gpt-4o", "instructions": LONG * 5}),
        (f"{talk.path}/runs", {"assistant_id": talk.assistant["id"], "instructions": LONG * 5}),
    ):
        check_refused(await client.request("POST", path, body))
    page = await client.get(f"{talk.path}/messages", order="asc", limit=100)
    assert [message["id"] for message in page["data"][1:]] == acknowledged[:99]
    assert (await client.get(f"{talk.path}/runs"))["data"] == []
    await disk.make_room()
    assert (await talk.stream())[-2].data["status"] == "completed"


async def test_a_run_that_meets_a_full_disk_is_ended_later(
    server: RunningServer, disk: Disk, model: ScriptedModel, clock: Clock
) -> None:
    gate = asyncio.Event()
    model.script(Reply("Half ", Silence(gate), LONG), Reply("Whole."))
    talk = await Talk.begin(server.client)
    run = await talk.run()
    await talk.until_it_speaks()
    other = await Talk.begin(server.client)
    await fill(other)
    with capture_logs() as logged:
        gate.set()
        await polled(lambda: left_to_its_lease(logged, run))
    await disk.make_room()
    clock.advance(int(LEASE_SECONDS) + 1)
    assert (await talk.until(run, "completed"))["usage"] is not None
    assert [message["content"][0]["text"]["value"] for message in (await talk.messages())[1:]] == ["Whole."]


async def left_to_its_lease(logged: list[MutableMapping[str, Any]], run: dict[str, Any]) -> bool | None:
    return any(entry["event"] == "run_left_to_its_lease" and entry["run_id"] == run["id"] for entry in logged) or None
