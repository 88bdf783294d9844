"""One server over one scripted model for all tests of a module, where each of them brings its own assistant and thread.

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from support.model_server import ScriptedModel
from support.server import RunningServer, running_server

__all__ = ["lasting_model", "model", "server"]


@pytest.fixture(scope="module")
async def lasting_model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
def model(lasting_model: ScriptedModel) -> Iterator[ScriptedModel]:
    """The model server, without what earlier tests asked of it or scripted."""
    lasting_model.forget()
    yield lasting_model
    lasting_model.check()


def server(**settings: Any) -> Any:
    """A fixture: a server with these settings."""

    @pytest.fixture(scope="module")
    async def lasting_server(
        lasting_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncIterator[RunningServer]:
        async with running_server(lasting_model, tmp_path_factory.mktemp("server"), **settings) as running:
            yield running

    return lasting_server
