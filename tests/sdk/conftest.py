"""Runs each official client's script once, all of them at the same time against one server, and keeps its lines."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sdk.environments import CLIENTS, Client, Unavailable, build_all
from support.code import sandbox_folder_if_there
from support.model_server import ScriptedModel, model_in_thread
from support.server import ServerProcess, server_process
from understudy import entropy
from understudy.core.ids import ProjectId
from understudy.keys import Keys
from understudy.settings import Settings
from understudy.store.sqlite import open_sqlite

SCRIPT_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """What a client's script printed: one line per scenario, and the rest for when a line is missing."""

    scenarios: Mapping[str, dict[str, Any]]
    stderr: str


class Outcomes:
    """The scripts under way. `of(client)` waits for one; it skips, or fails under CI, where the client is missing."""

    def __init__(self, missing: Mapping[Client, Unavailable], running: Mapping[Client, "Future[Outcome]"]) -> None:
        self._missing = missing
        self._running = running

    def of(self, client: Client) -> Outcome:
        if client in self._missing:
            # A run that is to prove something must not pass because nothing was tried.
            say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            say(str(self._missing[client]))
        return self._running[client].result()


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    # Only the clients that this run's tests ask for: `-k node-6` shall not start the others.
    wanted = {item.callspec.params.get("client") for item in request.session.items if hasattr(item, "callspec")}
    chosen = [client for client in CLIENTS if client in wanted]
    missing = {client: reason for client, reason in build_all(chosen).items() if reason is not None}
    data_dir = tmp_path_factory.mktemp("sdk")
    sandbox = sandbox_folder_if_there(data_dir)
    keys = asyncio.run(_make_keys(data_dir, [client for client in chosen if client not in missing]))
    with (
        model_in_thread(ScriptedModel()) as model,
        server_process(model.base_url, data_dir, sandbox_dir=sandbox) as server,
        ThreadPoolExecutor(len(CLIENTS)) as pool,
    ):
        yield Outcomes(missing, {client: pool.submit(_run, client, key, server, model) for client, key in keys.items()})


async def _make_keys(data_dir: Path, clients: Sequence[Client]) -> Mapping[Client, str]:
    """A key to a project of its own for each client, so that none sees what another makes."""
    store = await open_sqlite(Settings(data_dir=data_dir).database)
    try:
        keys = Keys(store, entropy.now)
        return {client: (await keys.create(client.name, ProjectId(client.name)))[1] for client in clients}
    finally:
        await store.close()


def _run(client: Client, key: str, server: ServerProcess, model: ScriptedModel) -> Outcome:
    given = {
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": key,
        "MODEL_REQUESTS_URL": model.base_url.removesuffix("/v1") + "/__requests",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # The tests' own interpreter settings are not the clients'.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENAI_"))}
    ended = subprocess.run(
        client.command,
        cwd=client.directory,
        env={**inherited, **given},
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
        check=False,
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    return Outcome({line["name"]: line for line in lines}, ended.stderr)
