"""Code that runs in the sandbox, from the model's call to the downloaded file, over the whole server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Client
from support.code import sandbox_folder
from support.model_server import Call, Reply, ScriptedModel
from support.server import RunningServer, running_server
from support.talk import Talk

CODE = {"type": "code_interpreter"}


@pytest.fixture(scope="module")
async def coding(shared_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    folder = tmp_path_factory.mktemp("coding")
    async with running_server(shared_model, folder, sandbox_dir=sandbox_folder(folder), sandbox_sessions=4) as running:
        yield running


@pytest.fixture
def client(coding: RunningServer, shared_model: ScriptedModel) -> Client:
    shared_model.forget()
    return coding.client


def runs(code: str, *, id_: str = "call_c") -> Reply:
    import json

    return Reply(Call(id_, "code_interpreter", json.dumps({"code": code})))


async def outputs(talk: Talk, run: dict[str, Any], step: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await talk.steps(run))[step]["step_details"]["tool_calls"][0]["code_interpreter"][
        "outputs"
    ]
    return found


async def test_code_runs_and_its_output_is_shown(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    shared_model.script(runs("print('a')\n40 + 2"), Reply("Forty-two."))
    events = await talk.stream()
    run = events[-2].data
    assert run["status"] == "completed", run["last_error"]
    assert await outputs(talk, run) == [{"type": "logs", "logs": "a\n42"}]
