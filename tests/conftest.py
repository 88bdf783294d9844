"""Fixtures that every test may use. Async tests run on asyncio through anyio's own plugin."""

import os

import pytest
from hypothesis import settings

# Locally the suite is to be quick; CI looks more closely. No deadline: the machines that run this are busy.
settings.register_profile("quick", max_examples=40, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile("thorough" if os.environ.get("CI") == "true" else "quick")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
