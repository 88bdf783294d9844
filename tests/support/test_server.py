import signal
from pathlib import Path

import aiohttp
import pytest

from support.client import Client
from support.model_server import ScriptedModel, model_in_thread
from support.server import KEY, running_server, server_process


async def test_the_server_answers_and_a_second_one_finds_the_same_rows(tmp_path: Path) -> None:
    async with ScriptedModel() as model:
        async with running_server(model, tmp_path) as first:
            made = await first.client.post("/v1/threads", {"metadata": {"a": "1"}})
        async with running_server(model, tmp_path) as second:
            assert await second.client.get(f"/v1/threads/{made['id']}") == made


async def test_a_server_without_the_key_is_closed(tmp_path: Path) -> None:
    async with running_server(None, tmp_path) as server:
        answer = await server.client.with_key("sk-other").request("POST", "/v1/threads")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


async def test_a_process_can_be_killed_and_started_again_on_its_rows(tmp_path: Path) -> None:
    with model_in_thread(ScriptedModel()) as model:
        with server_process(model.base_url, tmp_path) as server:
            async with aiohttp.ClientSession(server.url) as session:
                made = await Client(session, KEY).post("/v1/threads")
            server.kill()
            assert server.process.returncode == -signal.SIGKILL
        with server_process(model.base_url, tmp_path) as server:
            async with aiohttp.ClientSession(server.url) as session:
                assert await Client(session, KEY).get(f"/v1/threads/{made['id']}") == made
            assert server.stop() in (0, -signal.SIGTERM)  # uvicorn tidies up, then lets the signal end it


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="run_lifetime_seconds"),
        server_process(None, tmp_path, run_lifetime_seconds=-1),
    ):
        pass
