"""A server goes on while a newer version upgrades its database, and its version can be started behind that."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.client import Client
from support.model_server import Reply, ScriptedModel, Silence
from support.postgres import database_url
from support.server import running_server
from support.store import ENGINES
from support.talk import Talk
from understudy.store.dialect import Dialect
from understudy.store.migrations import MIGRATIONS
from understudy.store.postgres import upgrade_postgres
from understudy.store.sqlite import upgrade_sqlite


def adding(d: Dialect) -> Sequence[str]:
    """A minor version's step, to the tables that runs write."""
    columns = f"colour TEXT, weight {d.integer} NOT NULL DEFAULT 1"
    tables = ("assistants", "threads", "messages", "runs", "steps", "facts")
    return [
        *(f"ALTER TABLE {table} ADD COLUMN {column}" for table in tables for column in columns.split(", ")),
        f"CREATE TABLE colours (name TEXT PRIMARY KEY) {d.table_options}",
    ]


@pytest.mark.parametrize("engine", ENGINES)
async def test_runs_and_streams_go_on_while_the_database_is_upgraded(engine: str, tmp_path: Path) -> None:
    url = database_url(tmp_path) if engine == "postgres" else None
    async with ScriptedModel() as model:
        async with running_server(model, tmp_path, database_url=url) as server:
            gate = asyncio.Event()
            model.script(Reply("Before ", Silence(gate), "and behind."))
            held = await Talk.begin(server.client)
            streaming = asyncio.create_task(held.stream())
            await held.until_it_speaks()
            upgraded = asyncio.Event()
            busy = [asyncio.create_task(_talk_until(server.client, upgraded)) for _ in range(3)]
            if url is None:
                taken = await asyncio.to_thread(upgrade_sqlite, tmp_path / "understudy.db", (*MIGRATIONS, adding))
            else:
                taken = await upgrade_postgres(url, (*MIGRATIONS, adding))
            assert taken == [len(MIGRATIONS) + 1]
            upgraded.set()
            await asyncio.gather(*busy)
            gate.set()
            events = await streaming
            assert [event.name for event in events][-2:] == ["thread.run.completed", "done"]
            assert (await held.messages())[-1]["content"][0]["text"]["value"] == "Before and behind."
        async with running_server(model, tmp_path, database_url=url) as server:
            talk = await Talk.begin(server.client, content="@say Still here.")
            await talk.until(await talk.run(), "completed")
            again = Talk(server.client, held.assistant, held.thread)
            assert (await again.messages())[-1]["content"][0]["text"]["value"] == "Before and behind."


async def _talk_until(client: Client, over: asyncio.Event) -> None:
    """Runs, one after the other, and one more behind the end."""
    last = False
    while not last:
        last = over.is_set()
        talk = await Talk.begin(client, content="@say Yes.")
        events = await talk.stream()
        assert [event.name for event in events][-2:] == ["thread.run.completed", "done"]
