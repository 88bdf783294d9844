"""Runs each official client's script once, all of them at the same time against one server, and keeps its lines."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from sdk.environments import CLIENTS, Client, Unavailable, build_all
from support.model_server import ScriptedModel, model_in_thread
from support.server import ServerProcess, server_process

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
    with (
        model_in_thread(ScriptedModel()) as model,
        server_process(model.base_url, tmp_path_factory.mktemp("sdk")) as server,
        ThreadPoolExecutor(len(CLIENTS)) as pool,
    ):
        ready = [client for client in chosen if client not in missing]
        yield Outcomes(missing, {client: pool.submit(_run, client, server, model) for client in ready})


def _run(client: Client, server: ServerProcess, model: ScriptedModel) -> Outcome:
    given = {
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": server.key,
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
