"""The measurements' arithmetic, and that they still run: what they measure is no test's business."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.script import Script, read_script
from bench.table import Row, markdown, percentile, row, shown

ROOT = Path(__file__).parents[2]


def test_a_script_is_read_from_the_name_of_a_model() -> None:
    assert read_script("tokens=50,every=20ms,first=2s") == Script(tokens=50, every=0.02, first=2.0)
    assert read_script("tokens=3,first=0") == Script(tokens=3)
    assert read_script("first=held") == Script(held=True)


@pytest.mark.parametrize("model", ["gpt-4o", "tokens=many", "tokens=1,every=soon", ""])
def test_a_name_that_is_no_script_is_refused(model: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        read_script(model)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (90, 9), (95, 10), (100, 10)])
def test_a_percentile_is_one_of_the_figures(percent: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected


@pytest.mark.parametrize(("figure", "met"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_figure_is_held_against_an_upper_bound(figure: float, met: bool) -> None:
    assert row("CPU per run", figure, " ms", at_most=2) == Row(
        what="CPU per run", figure=f"{shown(figure)} ms", target="≤ 2 ms", met=met
    )


def test_a_figure_is_held_against_a_lower_bound() -> None:
    assert row("runs", 499, "/s", at_least=500).met is False
    assert row("runs", 500, "/s", at_least=500).met is True


def test_figures_are_shown_with_three_digits() -> None:
    assert [shown(figure) for figure in (0.012345, 1.23456, 12.3456, 1234.5)] == ["0.0123", "1.23", "12.3", "1,234"]


def test_the_table_says_which_targets_are_met() -> None:
    rows = [row("one", 1, " s", at_most=2), row("two", 3, " s", at_most=2, proxy="1 s"), row("three", 5, " s")]
    assert markdown(rows).splitlines()[2:] == [
        "| one | – | – | 1 s | ≤ 2 s | yes |",
        "| two | – | 1 s | 3 s | ≤ 2 s | **no** |",
        "| three | – | – | 5 s | – |  |",
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the measuring reads clocks that only Linux has")
def test_the_measuring_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--smoke", "--directory", str(tmp_path)]
    measured = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert measured.returncode == 0, measured.stderr
    assert "| CPU per persisted one-token run" in measured.stdout
    assert not list(tmp_path.iterdir())
