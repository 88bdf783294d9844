"""`understudy worker`, as a process beside one that only answers."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.client import Client
from support.command import read_until, run, started
from support.files import new_file
from support.model_server import Reply, ScriptedModel, Silence
from support.postgres import database_url
from support.server import RunningServer, running_server
from support.store import ENGINES
from support.talk import Talk, polled

SAYS_LAST = "Ctrl-C stops it; what it works on goes to the others.\n"


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as made:
        yield made


@pytest.fixture(params=ENGINES)
async def front(request: pytest.FixtureRequest, model: ScriptedModel, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that leaves runs and files to others."""
    url = database_url(tmp_path) if request.param == "postgres" else None
    async with running_server(model, tmp_path, worker=False, database_url=url) as running:
        yield running


def shared(front: RunningServer) -> dict[str, str]:
    """What makes a process one of this server's installation."""
    settings = front.settings
    return {
        "UNDERSTUDY_DATA_DIR": str(settings.data_dir),
        "UNDERSTUDY_DATABASE_URL": settings.database_url or "",
        "UNDERSTUDY_UPSTREAM_BASE_URL": settings.upstream_base_url or "",
    }


async def test_a_worker_does_what_a_server_leaves_to_others_and_hands_it_on_when_it_ends(
    front: RunningServer, model: ScriptedModel, tmp_path: Path
) -> None:
    model.script(Reply("Four."), Reply("Half", Silence()), Reply("Whole."))
    talk = await Talk.begin(front.client)
    first = await talk.run()
    async with started("worker", home=tmp_path, **shared(front)) as worker:
        banner = await read_until(worker.stdout, SAYS_LAST)
        assert "works on the runs and files of" in banner
        assert "export" not in banner
        await talk.until(first, "completed")
        await _indexes_a_file(front.client)
        second = await talk.run()
        await model.until(lambda: len(model.chats) == 2)
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
        assert time.monotonic() - began < 5
    assert (await talk.get(second))["status"] == "in_progress"
    async with running_server(model, tmp_path, database_url=front.settings.database_url):
        await talk.until(second, "completed")
    assert not (front.settings.data_dir / "api-key").exists()


async def _indexes_a_file(client: Client) -> None:
    file = await new_file(client, filename="a.txt")
    store = await client.post("/v1/vector_stores", {"file_ids": [file["id"]]})

    async def look() -> bool | None:
        counts = (await client.get(f"/v1/vector_stores/{store['id']}"))["file_counts"]
        return True if counts["completed"] == 1 else None

    await polled(look, seconds=10)


async def test_a_worker_that_may_not_work_is_refused_in_one_sentence(tmp_path: Path) -> None:
    ended = await run("worker", home=tmp_path, UNDERSTUDY_WORKER="false")
    assert ended.code == 1
    assert ended.err == (
        "understudy: A worker that may not work is of no use: take back 'worker', which the environment variable "
        "UNDERSTUDY_WORKER says is false.\n"
    )


@pytest.mark.parametrize("command", ["worker", "serve"])
async def test_a_database_that_cannot_be_reached_is_one_sentence_and_exit_code_1(command: str, tmp_path: Path) -> None:
    url = f"postgresql://user:hush@/none?host={tmp_path}"
    port = {"UNDERSTUDY_PORT": "0"}
    ended = await run(command, home=tmp_path, UNDERSTUDY_DATABASE_URL=url, UNDERSTUDY_API_KEY="k", **port)
    assert ended.code == 1
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"understudy: The {'worker' if command == 'worker' else 'server'} cannot start: ")
    assert "Traceback" not in ended.err
    assert "hush" not in ended.err


async def test_ctrl_c_ends_a_worker_that_has_nothing_to_do(tmp_path: Path) -> None:
    async with started("worker", "--no-local-model", home=tmp_path) as worker:
        await read_until(worker.stdout, SAYS_LAST)
        worker.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(worker.wait(), 5) == 0
