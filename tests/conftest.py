"""Fixtures that every test may use. Async tests run on asyncio through anyio's own plugin."""

import os
import signal

import pytest
import structlog
from hypothesis import settings
from structlog.typing import EventDict

# Whoever starts the suite in the background of a shell has it ignore Ctrl-C, and all that it starts ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Locally the suite is to be quick; CI looks more closely. No deadline: the machines that run this are busy.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile("thorough" if os.environ.get("CI") == "true" else "quick")


def drop(_logger: object, _method: str, _event: EventDict) -> EventDict:
    raise structlog.DropEvent


# Rendering what passing tests log takes a tenth of the suite's time; `LOGS=1 make test` shows it.
if "LOGS" not in os.environ:
    structlog.configure(processors=[drop])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
