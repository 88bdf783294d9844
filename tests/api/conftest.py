"""A real server over a real scripted model server: for each test, or one for all tests of a module."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.client import Client
from support.model_server import ScriptedModel
from support.server import RunningServer, running_server
from support.talk import Talk


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def server(model: ScriptedModel, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(model, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
async def shared_model() -> AsyncIterator[ScriptedModel]:
    """For tests that say in their messages what the model shall answer: see `support.model_directives`."""
    async with ScriptedModel(models=["scripted-1", "org/scripted:7b"]) as scripted:
        yield scripted


@pytest.fixture(scope="module")
async def shared(shared_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """A server for tests to which it does not matter what others have left in it."""
    async with running_server(shared_model, tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Client:
    return server.client


@pytest.fixture
async def talk(client: Client) -> Talk:
    return await Talk.begin(client)
