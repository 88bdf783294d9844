"""`understudy sandbox`, as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.sandboxes import required


def understudy(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "understudy", "sandbox", *words, "--data-dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")},
    )


def test_check_says_what_is_missing_and_the_command_that_mends_it(tmp_path: Path) -> None:
    required()
    told = understudy(tmp_path, "check")
    assert told.returncode == 1
    assert "run `understudy sandbox init`" in told.stdout
    told = understudy(tmp_path, "check", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["works"] is False


def test_check_runs_code_in_the_environment_that_there_is(tmp_path: Path) -> None:
    environment = required()
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "environment").symlink_to(environment)
    told = understudy(tmp_path, "check", "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout) == {
        "works": True,
        "reason": None,
        "where": str(tmp_path / "sandbox" / "environment"),
        "environment": None,
        "sandboxed": True,
    }


def test_check_says_when_there_is_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = required()
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "environment").symlink_to(environment)
    (tmp_path / "understudy.toml").write_text('code_interpreter = "unsafe-local"\n', "utf-8")
    monkeypatch.chdir(tmp_path)
    told = understudy(tmp_path, "check")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Sandbox:      NONE: code runs with the rights of " in told.stdout
    assert "code_runs_without_a_sandbox" in told.stderr
    assert json.loads(understudy(tmp_path, "check", "--json").stdout)["sandboxed"] is False


def test_init_refuses_a_profile_that_there_is_not(tmp_path: Path) -> None:
    told = understudy(tmp_path, "init", "--profile", "huge")
    assert told.returncode == 1
    assert told.stderr == "understudy: There is no profile 'huge': take one of minimal, standard, full.\n"
    assert not list(tmp_path.iterdir())
