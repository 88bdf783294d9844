"""What a log may say: where something failed, never what a user wrote or a key."""

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from understudy.logs import configure

SECRET = "sk-understudy-what-a-user-must-not-find-here"


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    handlers = list(logging.root.handlers)
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


def crash(key: str) -> None:
    raise RuntimeError(f"no room for a key of {len(key)} characters")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_does_not_show_the_values_of_variables(
    form: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    configure("info", form)
    try:
        crash(SECRET)
    except RuntimeError:
        structlog.get_logger().exception("request_crashed")
    written = capsys.readouterr().err
    assert "no room for a key of" in written
    assert "crash" in written, "it still says where"
    assert SECRET not in written
    assert SECRET[:12] not in written


def test_a_crash_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    try:
        crash(SECRET)
    except RuntimeError:
        structlog.get_logger().exception("request_crashed")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "request_crashed"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_cannot_begin_a_line_or_colour_a_terminal(
    form: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    configure("info", form)
    structlog.get_logger().info("request", path="/v1/x\n12:00", client="\x1b[31m")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "\x1b[31m" not in written
