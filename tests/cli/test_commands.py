"""The small commands, and what all of them share."""

import re
from pathlib import Path

from typer.testing import CliRunner

from support.command import run
from understudy import __version__
from understudy.cli.main import commands
from understudy.settings import SETTINGS


async def test_version_imports_nothing_heavy(tmp_path: Path) -> None:
    ended = await run("--version", home=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert (ended.code, ended.out) == (0, f"understudy {__version__}\n")
    imported = {line.rsplit("|")[-1].strip() for line in ended.err.splitlines()}
    assert "understudy.settings" in imported
    assert not imported & {"asyncio", "aiohttp", "uvicorn", "sqlite3", "structlog", "rich", "numpy"}


async def test_a_wrong_setting_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    ended = await run("settings", home=tmp_path, UNDERSTUDY_PORT="many")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "understudy: The setting 'port', from the environment variable UNDERSTUDY_PORT, "
        "must be a port number from 0 to 65535, not 'many'.\n"
    )


def test_serve_help_explains_every_setting_the_first_minutes_on_top() -> None:
    said = CliRunner().invoke(commands(), ["serve", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    words = re.sub(r"[\s│]+", " ", said)
    for setting in SETTINGS:
        assert setting.flag in words
        assert setting.env in words
        assert re.sub(r"\s+", " ", setting.description) in words
    assert words.index("--upstream-base-url") < words.index("--organization")


def test_settings_shows_values_and_sources_with_secrets_masked(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('port = 9000\nupstream_api_key = "hush"\n')
    said = CliRunner().invoke(commands(), ["settings", "--config", str(tmp_path / "own.toml")])
    assert said.exit_code == 0
    assert re.search(r"^port = 9000 +# the file .*own\.toml$", said.output, re.MULTILINE)
    assert re.search(r'^upstream_api_key = "\*\*\*" +# the file', said.output, re.MULTILINE)
    assert "hush" not in said.output


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    def keys(*arguments: str) -> str:
        said = CliRunner().invoke(commands(), ["keys", *arguments, "--data-dir", str(tmp_path / "new")])
        assert said.exit_code == 0, said
        return said.stdout

    plain = keys("create", "ci", "--project", "red").strip()
    assert plain.startswith("sk-understudy-")
    [line] = keys("list").splitlines()[1:]
    key_id, name, hint, project = line.split()[:4]
    assert (name, project) == ("ci", "red")
    assert plain.startswith(hint.removesuffix("..."))
    assert plain not in line
    keys("revoke", key_id)
    [revoked] = keys("list").splitlines()[1:]
    assert len(revoked.split()) == len(line.split()) + 2


async def test_revoking_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    ended = await run("keys", "revoke", "key_x", "--data-dir", "data", home=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "understudy: There is no key key_x that still works: see `understudy keys list`.\n"
