"""What the README tells a newcomer to type does what it says."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from sdk.environments import CLIENTS, build_all
from support.model_server import ScriptedModel, model_in_thread
from support.server import server_process

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
SAID = "What is an understudy?The lamp of the lighthouse burns 37 litres of oil each night.\n"
NEWEST = next(client for client in CLIENTS if client.name == "python-3")

pytestmark = pytest.mark.sdk


def test_the_python_code_streams_an_answer_and_finds_what_was_uploaded(tmp_path: Path) -> None:
    if (missing := build_all([NEWEST])[NEWEST]) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    code = "\n".join(block for language, block in BLOCKS if language == "python")
    with model_in_thread(ScriptedModel()) as model, server_process(model.base_url, tmp_path) as server:
        given = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENAI_"))}
        ended = subprocess.run(
            [NEWEST.command[0], "-W", "ignore", "-c", code],
            env={**inherited, **given},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (0, SAID), ended.stderr


def test_every_make_target_that_is_named_exists() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    for target in set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(re.findall(r"`[^`]+`|```.*?```", README)))):
        assert f"make {target} " in listed, target


def test_the_flags_and_commands_that_are_named_exist() -> None:
    documented = "".join((ROOT / "docs" / page).read_text("utf-8") for page in ("cli.md", "settings.md"))
    shell = "\n".join(block for language, block in BLOCKS if language == "sh")
    for flag in re.findall(r"--[a-z-]+", shell):
        assert flag in documented, flag
