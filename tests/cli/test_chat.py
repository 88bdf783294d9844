"""`understudy chat`, against the wire."""

import os
import pty
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.command import Ended, read_until, run, started
from support.spoken import KEY, Spoken, spoken
from understudy.cli.chat import Conversation
from understudy.cli.client import Target, target
from understudy.cli.terminal import Stop
from understudy.settings import Settings


@pytest.fixture
async def server() -> AsyncIterator[Spoken]:
    async with spoken() as running:
        yield running


async def talk(server: Spoken, home: Path, text: str, *arguments: str) -> Ended:
    return await run("chat", *arguments, home=home, text=text, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=KEY)


async def test_piped_lines_are_messages_and_the_answers_come_out(server: Spoken, tmp_path: Path) -> None:
    ended = await talk(server, tmp_path, "hello there\n\nand again\n")
    assert ended == Ended(0, "You said: hello there \nYou said: and again \n", "")
    assert server.created[0]["model"] == "m-one"


async def test_a_conversation_leaves_nothing_behind(server: Spoken, tmp_path: Path) -> None:
    await talk(server, tmp_path, "hello\n", "--model", "m-two")
    assert server.seen == [
        "POST /assistants",
        "POST /threads",
        "POST /threads/threads_2/runs",
        "DELETE /threads/threads_2",
        "DELETE /assistants/assistants_1",
    ]
    assert server.created[0] == {
        "model": "m-two",
        "name": "understudy chat",
        "instructions": "You are a helpful assistant.",
    }


async def test_new_begins_on_another_thread_and_quit_ends(server: Spoken, tmp_path: Path) -> None:
    ended = await talk(server, tmp_path, "/new\nhello\n/quit\nnever said\n", "--model", "m-one")
    assert ended.out == "You said: hello \n"
    assert "POST /threads/threads_3/runs" in server.seen
    assert "DELETE /threads/threads_2" in server.seen


async def test_an_answer_that_fails_says_why_and_is_the_exit_code(server: Spoken, tmp_path: Path) -> None:
    ended = await talk(server, tmp_path, "fail\ncrash\ncut\nhello\n")
    assert ended.code == 1
    assert ended.out == "You said: \n" * 3 + "You said: hello \n"
    assert ended.err.splitlines() == [
        "[failed: The model is tired.]",
        "[failed: Out of order.]",
        "[the stream ended before the run did]",
        "understudy: 3 of the answers failed.",
    ]


async def test_ctrl_c_cancels_the_answer_and_the_conversation_goes_on(server: Spoken, tmp_path: Path) -> None:
    async with started(
        "chat", home=tmp_path, stdin=PIPE, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=KEY
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"wait\n")
        await read_until(process.stdout, "You said: ")
        process.send_signal(signal.SIGINT)
        assert await read_until(process.stderr, "\n") == "[cancelled]\n"
        process.stdin.write(b"hello\n")
        process.stdin.close()
        assert await read_until(process.stdout, "hello \n") == "\nYou said: hello \n"
        assert await process.wait() == 0
    assert [line for line in server.seen if line.endswith("/cancel")] == ["POST /threads/threads_2/runs/run_1/cancel"]


async def test_on_a_terminal_it_prompts_until_ctrl_d(server: Spoken, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        async with started(
            "chat", home=tmp_path, stdin=theirs, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=KEY
        ) as process:
            await read_until(process.stdout, "you> ")
            os.write(ours, b"hello\n")
            assert await read_until(process.stdout, "you> ") == "You said: hello \nyou> "
            os.write(ours, b"\x04")
            assert await process.wait() == 0
            assert f"m-one at {server.base_url}\n" in await read_until(process.stderr, "answer.\n")
    finally:
        os.close(ours)
        os.close(theirs)


async def test_no_server_is_one_clear_sentence(tmp_path: Path) -> None:
    ended = await run("chat", "--api-key", "k", "--port", "1", home=tmp_path, text="hello\n")
    assert ended == Ended(
        1,
        "",
        "understudy: No server answers at http://127.0.0.1:1/v1: start one with `understudy serve`, "
        "or name it by --base-url.\n",
    )


@pytest.mark.parametrize(
    ("path", "key", "model", "said"),
    [
        ("", "wrong", None, "The server at {base_url} refused the key: Incorrect API key provided."),
        ("", KEY, "refused", "No such model here."),
        ("/elsewhere", KEY, None, "What answers at {base_url} is not this API; a base URL ends in /v1."),
    ],
)
async def test_what_goes_wrong_at_the_start_is_one_sentence(
    server: Spoken, path: str, key: str, model: str | None, said: str
) -> None:
    where = Target(server.base_url + path, key)
    with pytest.raises(Stop) as caught:
        await Conversation.open(where, model, "Be kind.")
    assert str(caught.value) == said.format(base_url=where.base_url)


async def test_a_server_without_models_asks_for_one(server: Spoken) -> None:
    server.models = []
    with pytest.raises(Stop, match="name one with --model"):
        await Conversation.open(Target(server.base_url, KEY), None, "Be kind.")


def test_the_server_on_this_machine_is_found_by_its_data_dir(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("own\n")
    settings = Settings(data_dir=tmp_path, port=9000)
    assert target(settings, {}, base_url=None, api_key=None) == Target("http://127.0.0.1:9000/v1", "own")


def test_an_exported_key_goes_with_the_exported_base_url_only(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("own\n")
    settings = Settings(data_dir=tmp_path)
    both = {"OPENAI_BASE_URL": "http://there/v1/", "OPENAI_API_KEY": "theirs"}
    assert target(settings, both, base_url=None, api_key=None) == Target("http://there/v1", "theirs")
    foreign = {"OPENAI_API_KEY": "theirs"}
    assert target(settings, foreign, base_url=None, api_key=None).key == "own"


def test_flags_win_over_what_is_exported(tmp_path: Path) -> None:
    environ = {"OPENAI_BASE_URL": "http://there/v1", "OPENAI_API_KEY": "theirs"}
    settings = Settings(data_dir=tmp_path)
    assert target(settings, environ, base_url="http://here/v1", api_key="mine") == Target("http://here/v1", "mine")


def test_no_key_at_all_says_where_keys_come_from(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="set OPENAI_API_KEY"):
        target(Settings(data_dir=tmp_path), {}, base_url=None, api_key=None)
