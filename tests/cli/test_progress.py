"""What a long command says on its way."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import environment
from understudy.cli.progress import open_progress

COUNTS = """
from understudy.cli.progress import open_progress
with open_progress() as tell:
    for done in range(101):
        tell("copying runs", done, 100)
"""


def test_elsewhere_than_on_a_terminal_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with open_progress(line_seconds=0) as tell:
        tell("copying runs", 5_000, 10_000)
        tell("copying content", 7, 0)
    assert capsys.readouterr() == ("", "copying runs: 5,000 of 10,000\ncopying content: 7\n")
    with open_progress(line_seconds=60) as tell:
        tell("copying runs", 5_000, 10_000)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_goes_on_and_is_gone_at_the_end(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = environment(tmp_path, TERM="xterm")
    done = subprocess.run([sys.executable, "-c", COUNTS], stderr=theirs, stdout=subprocess.PIPE, env=env, check=True)
    os.close(theirs)
    said = os.read(ours, 1_000_000).decode()
    os.close(ours)
    assert done.stdout == b""
    assert "copying runs" in said
    assert "/100" in said
    assert said.rstrip().endswith("\x1b[2K")  # the line is cleared
