"""Unmodified official clients do with this server what programs do: one test per client and scenario."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdk.environments import CLIENTS, Client
from support.sandboxes import required

if TYPE_CHECKING:
    from sdk.conftest import Outcomes

SCENARIOS = (Path(__file__).parent / "scenario_names.txt").read_text("utf-8").split()

pytestmark = pytest.mark.sdk


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_official_client_finds_that(client: Client, scenario: str, outcomes: "Outcomes") -> None:
    if scenario.startswith("code_"):
        required()
    outcome = outcomes.of(client)
    assert scenario in outcome.scenarios, f"the script ended before this scenario:\n{outcome.stderr[-2000:]}"
    found = outcome.scenarios[scenario]
    assert found["ok"], found["detail"]
