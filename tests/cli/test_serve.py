"""`understudy serve`: the first minute, as a process."""

import re
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from support.command import Ended, read_until, run, started
from support.model_replies import Reply
from support.model_server import ScriptedModel
from support.weights import write_static_weights
from understudy.cli import serve
from understudy.cli.banner import banner, base_url
from understudy.setting_sources import load
from understudy.settings import Settings


async def test_it_prints_two_lines_to_paste_once_it_answers(tmp_path: Path) -> None:
    async with started("serve", "--port", "0", "--data-dir", "data", "--no-local-model", home=tmp_path) as process:
        said = await read_until(process.stdout, "Ctrl-C stops it.\n")
        [url] = re.findall(r"^export OPENAI_BASE_URL=(http://127\.0\.0\.1:\d+/v1)$", said, re.MULTILINE)
        [key] = re.findall(r"^export OPENAI_API_KEY=(sk-understudy-\w{40})$", said, re.MULTILINE)
        assert (tmp_path / "data/api-key").read_text() == key + "\n"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/assistants", headers={"Authorization": f"Bearer {key}"}) as answer:
                assert answer.status == 200
                assert "server" not in answer.headers
            async with session.get(f"{url}/assistants", headers={"Authorization": "Bearer wrong"}) as answer:
                assert answer.status == 401
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_keys_made_and_revoked_beside_a_running_server_take_effect(tmp_path: Path) -> None:
    async with (
        started("serve", "--port", "0", "--data-dir", "data", "--no-local-model", home=tmp_path) as process,
        aiohttp.ClientSession() as session,
    ):
        said = await read_until(process.stdout, "Ctrl-C stops it.\n")
        [url] = re.findall(r"^export OPENAI_BASE_URL=(\S+)$", said, re.MULTILINE)
        made = await run("keys", "create", "ci", "--data-dir", "data", home=tmp_path)
        headers = {"Authorization": f"Bearer {made.out.strip()}"}
        async with session.get(f"{url}/assistants", headers=headers) as answer:
            assert answer.status == 200


async def test_chat_talks_to_the_model_server_through_the_server(tmp_path: Path) -> None:
    async with (
        ScriptedModel(api_key="sk-model") as model,
        started(
            *("serve", "--port", "0", "--data-dir", "data", "--upstream-base-url", model.base_url),
            home=tmp_path,
            UNDERSTUDY_UPSTREAM_API_KEY="sk-model",
        ) as process,
    ):
        said = await read_until(process.stdout, "Ctrl-C stops it.\n")
        assert f"Models: those of {model.base_url}." in said
        [port] = re.findall(r"OPENAI_BASE_URL=http://127\.0\.0\.1:(\d+)/v1", said)
        model.script(Reply("Good ", "evening."), Reply("Again?"))
        ended = await run("chat", "--port", port, "--data-dir", "data", home=tmp_path, text="hello\nhello\n")
        assert ended == Ended(0, "Good evening.\nAgain?\n", "")


async def test_a_port_in_use_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = await run("serve", "--port", port, home=tmp_path)
    assert ended.code == 1
    assert ended.err == (
        f"understudy: Port {port} on 127.0.0.1 is in use: stop what listens there, "
        "or choose another port with --port.\n"
    )
    assert ended.out == ""


async def test_a_data_dir_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = await run("serve", "--port", "0", "--data-dir", "file/data", home=tmp_path)
    assert ended.code == 1
    assert ended.err.startswith("understudy: The data directory file/data cannot be used: ")
    assert ended.err.count("\n") == 1


def test_the_base_url_is_one_that_this_machine_can_reach() -> None:
    assert base_url("127.0.0.1", 8000) == "http://127.0.0.1:8000/v1"
    assert base_url("0.0.0.0", 1) == "http://127.0.0.1:1/v1"
    assert base_url("::", 1) == "http://[::1]:1/v1"


def test_the_banner_names_the_model_server(tmp_path: Path) -> None:
    loaded = load({"upstream_base_url": "http://there/v1"}, {}, directory=tmp_path)
    text = banner(loaded, port=8000, first_key="k")
    assert "Models: those of http://there/v1." in text
    assert "stand-in" not in text


def test_the_banner_says_plainly_when_nothing_answers(tmp_path: Path) -> None:
    text = banner(load({"local_model": False}, {}, directory=tmp_path), port=8000, first_key="k")
    assert "Model: none, so every run will fail." in text
    assert "--upstream-base-url" in text


def test_the_banner_says_when_search_goes_by_words_alone(tmp_path: Path) -> None:
    def said(**settings: object) -> str:
        return banner(load({"data_dir": str(tmp_path), **settings}, {}, directory=tmp_path), port=8000, first_key="k")

    assert "File search: by words alone." in said()
    assert "embedding fetch" in said()
    assert "by words alone" not in said(embedding_model="embed-1")
    write_static_weights(tmp_path / "weights")
    assert "by words alone" not in said()


def test_the_banner_says_when_code_runs_without_a_sandbox(tmp_path: Path) -> None:
    given = {"data_dir": str(tmp_path), "code_interpreter": "unsafe-local"}
    assert "WITHOUT A SANDBOX" in banner(load(given, {}, directory=tmp_path), port=8000, first_key="k")
    del given["code_interpreter"]
    assert "WITHOUT A SANDBOX" not in banner(load(given, {}, directory=tmp_path), port=8000, first_key="k")


def test_the_banner_does_not_give_away_a_key_that_the_operator_chose(tmp_path: Path) -> None:
    loaded = load({}, {"UNDERSTUDY_API_KEY": "hush"}, directory=tmp_path)
    text = banner(loaded, port=8000, first_key=None)
    assert 'export OPENAI_API_KEY="$UNDERSTUDY_API_KEY"' in text
    assert "hush" not in text


def test_it_listens_on_this_machine_only_unless_told_otherwise() -> None:
    assert Settings().host == "127.0.0.1"


def test_it_takes_as_many_open_files_as_it_is_allowed() -> None:
    resource = pytest.importorskip("resource")
    allowed, allowable = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, allowable))
    try:
        serve.allow_open_files()
        taken, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowable))
    assert taken == (serve.OPEN_FILES_MAX if allowable < 0 else min(allowable, serve.OPEN_FILES_MAX))
