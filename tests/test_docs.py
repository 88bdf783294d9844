"""The docs say what the program does: generated pages have not drifted, and nothing is left out."""

from pathlib import Path

import pytest

from understudy.cli.docs import PAGES, commands_of
from understudy.settings import SETTINGS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_generated_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), "run `make docs`"


def test_every_setting_is_documented() -> None:
    page = (DOCS / "settings.md").read_text("utf-8")
    for setting in SETTINGS:
        for spelling in (f"`{setting.name}`", f"`{setting.env}`", f"`{setting.flag}"):
            assert spelling in page, spelling


def test_every_command_is_documented() -> None:
    page = (DOCS / "cli.md").read_text("utf-8")
    for name, command in commands_of():
        assert f"## `{name}`" in page
        assert command.help, f"{name} has no docstring"


def test_constraints_pin_every_dependency_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 and "/" not in line for line in pins)
    names = [line.split("==")[0] for line in pins]
    assert names == sorted(set(names))
