"""Runs and passed-through requests over two model servers, as the settings file routes them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.model_server import Cut, Failure, Reply, ScriptedModel, Silence
from support.server import RunningServer, running_server
from support.talk import Talk
from understudy.setting_sources import load

FILE = """
[upstreams.big]
base_url = "{big}"
api_key_env = "BIG_KEY"
quirks = ["max_completion_tokens"]
[upstreams.local]
base_url = "{local}"
runs_max = 1
[[routes]]
model = "gpt-4-1106-preview"
to = [{{ upstream = "big", model = "qwen3-32b" }}, {{ upstream = "local", model = "llama3.1" }}]
[[routes]]
model = "llama*"
to = [{{ upstream = "local" }}]
[aliases]
fast = "llama3.1"
"""
OLD = "gpt-4-1106-preview"


@pytest.fixture
async def big() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(api_key="sk-big", models=["qwen3-32b"]) as scripted:
        yield scripted


@pytest.fixture
async def local() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(models=["llama3.1"]) as scripted:
        yield scripted


@pytest.fixture
async def server(big: ScriptedModel, local: ScriptedModel, tmp_path: Path) -> AsyncIterator[RunningServer]:
    (tmp_path / "understudy.toml").write_text(FILE.format(big=big.base_url, local=local.base_url))
    models = load({}, {"BIG_KEY": "sk-big"}, directory=tmp_path).settings.models
    async with running_server(None, tmp_path, models=models) as running:
        yield running


async def finished(server: RunningServer, model: str, **body: Any) -> tuple[dict[str, Any], str]:
    """The run as its stream's last event shows it, and the text that was streamed."""
    talk = await Talk.begin(server.client, model=model)
    events = await talk.stream(**body)
    spoken = [event.data["delta"]["content"][0]["text"]["value"] for event in events if event.name.endswith(".delta")]
    return events[-2].data, "".join(spoken)


def asked_for(model: ScriptedModel) -> list[str]:
    return [request.body["model"] for request in model.requests]


async def test_a_model_that_is_gone_is_answered_by_another_and_still_shown(
    server: RunningServer, big: ScriptedModel, local: ScriptedModel
) -> None:
    big.script(Reply("Hel", "lo"))
    run, spoken = await finished(server, OLD, max_completion_tokens=500)
    assert (run["status"], run["model"], spoken) == ("completed", OLD, "Hello")
    [sent] = big.requests
    assert (sent.body["model"], sent.headers["authorization"]) == ("qwen3-32b", "Bearer sk-big")
    assert sent.body["max_completion_tokens"] == 500
    assert "max_tokens" not in sent.body
    assert not local.requests


async def test_the_fallback_is_asked_in_its_own_words(
    server: RunningServer, big: ScriptedModel, local: ScriptedModel
) -> None:
    big.script(Failure(503))
    local.script(Reply("Here."))
    run, spoken = await finished(server, OLD, max_completion_tokens=500)
    assert (run["status"], run["model"], spoken) == ("completed", OLD, "Here.")
    [sent] = local.requests
    assert (sent.body["model"], sent.body["max_tokens"]) == ("llama3.1", 500)
    assert "authorization" not in sent.headers
    assert "max_completion_tokens" not in sent.body


async def test_all_servers_are_asked_before_the_run_waits_and_asks_again(
    server: RunningServer, big: ScriptedModel, local: ScriptedModel
) -> None:
    big.script(Failure(429, retry_after=20), Reply("Back."))
    local.script(Failure(503, retry_after=0.01))
    run, spoken = await finished(server, OLD)
    assert (run["status"], spoken) == ("completed", "Back.")
    assert (asked_for(big), asked_for(local)) == (["qwen3-32b"] * 2, ["llama3.1"])


async def test_the_only_server_is_waited_for_as_long_as_it_says(server: RunningServer, local: ScriptedModel) -> None:
    local.script(Failure(429, retry_after=0.01), Failure(429, retry_after=0.01), Reply("Now."))
    run, spoken = await finished(server, "fast")
    assert (run["status"], run["model"], spoken) == ("completed", "fast", "Now.")
    assert asked_for(local) == ["llama3.1"] * 3


async def test_a_run_whose_servers_all_fail_fails_as_the_first_one_did(
    server: RunningServer, big: ScriptedModel, local: ScriptedModel
) -> None:
    big.script(*[Failure(429, "Slow down.", retry_after=0.01)] * 3)
    local.script(*[Failure(500, retry_after=0.01)] * 3)
    run, _ = await finished(server, OLD)
    assert run["last_error"] == {
        "code": "rate_limit_exceeded",
        "message": "The model server answered with status 429: Slow down.",
    }
    assert (len(big.requests), len(local.requests)) == (3, 3)


async def test_a_run_that_has_begun_to_answer_is_never_answered_by_another(
    server: RunningServer, big: ScriptedModel, local: ScriptedModel
) -> None:
    big.script(Reply("Hel", Cut()))
    run, spoken = await finished(server, OLD)
    assert (run["status"], spoken) == ("failed", "Hel")
    assert (len(big.requests), len(local.requests)) == (1, 0)


async def test_a_run_with_a_name_that_no_route_takes_is_made_and_fails(server: RunningServer) -> None:
    run, _ = await finished(server, "gpt-5")
    assert run["status"] == "failed"
    assert run["last_error"] == {"code": "server_error", "message": "The requested model 'gpt-5' does not exist."}


# --- passed through


async def test_passed_through_requests_are_routed_and_an_unknown_name_is_404(
    server: RunningServer, big: ScriptedModel, local: ScriptedModel
) -> None:
    body: dict[str, Any] = {"model": OLD, "messages": [{"role": "user", "content": "Hi"}]}
    big.script(Failure(500))
    local.script(Reply("Here."))
    answer = await server.client.post("/v1/chat/completions", body)
    assert answer["choices"][0]["message"]["content"] == "Here."
    assert (asked_for(big), asked_for(local)) == (["qwen3-32b"], ["llama3.1"])
    await server.client.post("/v1/embeddings", {"model": "fast", "input": "x"})
    assert asked_for(local) == ["llama3.1", "llama3.1"]
    refused = await server.client.request("POST", "/v1/chat/completions", {**body, "model": "gpt-5"})
    assert refused.status == 404
    assert refused.error == {
        "message": "The model 'gpt-5' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


async def test_models_lists_what_can_be_asked_for(server: RunningServer) -> None:
    page = await server.client.get("/v1/models")
    assert [(model["id"], model["owned_by"]) for model in page["data"]] == [
        ("llama3.1", "tests"),
        ("fast", "local"),
        (OLD, "big"),
    ]
    assert (await server.client.get("/v1/models/fast"))["object"] == "model"


async def test_a_model_servers_bound_holds_up_its_own_runs_and_no_others(
    server: RunningServer, big: ScriptedModel, local: ScriptedModel
) -> None:
    gate = asyncio.Event()
    local.script(Reply("First.", Silence(gate)), Reply("Second."))
    big.script(Reply("Big."))
    talks = [await Talk.begin(server.client, model=model) for model in ("fast", "llama3.1", OLD)]
    first, second, other = [await talk.run() for talk in talks]
    await talks[2].until(other, "completed")
    await local.until(lambda: len(local.chats) == 1)
    assert (await talks[1].get(second))["status"] == "queued"
    gate.set()
    await talks[0].until(first, "completed")
    await talks[1].until(second, "completed")
