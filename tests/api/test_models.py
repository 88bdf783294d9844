"""Models, and what passes straight through to the model server. Contract section 2."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from support.answers import assert_refused
from support.client import Client
from support.model_server import Call, Cut, Failure, Reply, ScriptedModel
from support.server import KEY, RunningServer, running_server

ASK = {"model": "scripted-1", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def model(shared_model: ScriptedModel) -> ScriptedModel:
    """The model server of all tests here, its record empty."""
    shared_model.requests.clear()
    return shared_model


@pytest.fixture
def server(shared: RunningServer) -> RunningServer:
    return shared


@pytest.fixture
async def unreachable(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose model server is dead."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    async with running_server(None, tmp_path, upstream_base_url=url) as running:
        yield running


async def completed(server: RunningServer, body: object) -> tuple[aiohttp.ClientResponse, str]:
    """A chat completion's answer as it was sent: status and headers, and its whole body."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.post("/v1/chat/completions", json=body) as response,
    ):
        return response, await response.text()


async def test_the_model_servers_models_are_listed(client: Client) -> None:
    listed = await client.get("/v1/models")
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == ["scripted-1", "org/scripted:7b"]
    for one in listed["data"]:
        assert set(one) == {"id", "object", "created", "owned_by"}
        assert one["object"] == "model"
        assert await client.get(f"/v1/models/{one['id']}") == one


async def test_a_model_that_is_not_listed_is_not_found(client: Client) -> None:
    assert_refused(
        await client.request("GET", "/v1/models/nobody"),
        "The model 'nobody' does not exist",
        status=404,
        param="model",
        code="model_not_found",
    )


async def test_a_completion_passes_through_as_it_is(client: Client, model: ScriptedModel) -> None:
    model.script(Reply("Hello, ", "you."))
    sent = {**ASK, "temperature": 0.5, "seed": 7, "user": "somebody"}
    completion = await client.post("/v1/chat/completions", sent)
    assert completion["object"] == "chat.completion"
    assert completion["choices"][0]["message"]["content"] == "Hello, you."
    assert model.chats[0].body == sent


async def test_a_streamed_completion_passes_through_as_it_is(server: RunningServer, model: ScriptedModel) -> None:
    model.script(Reply("Hel", "lo", Call("call_1", "f", "{}")))
    response, text = await completed(server, {**ASK, "stream": True})
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert text.startswith('data: {"id": "chatcmpl-')
    assert text.endswith("data: [DONE]\n\n")
    assert '"content": "Hel"' in text
    assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_keeps_its_status_and_words(
    client: Client, model: ScriptedModel, status: int, stream: bool
) -> None:
    model.script(Failure(status, "Not like this.", type="their_type", code="their_code", param="messages"))
    answer = await client.request("POST", "/v1/chat/completions", {**ASK, "stream": stream})
    error = {"message": "Not like this.", "type": "their_type", "param": "messages", "code": "their_code"}
    assert (answer.status, answer.body) == (status, {"error": error})


async def test_when_to_try_again_is_passed_on(client: Client, model: ScriptedModel) -> None:
    model.script(Failure(429, "Slower.", retry_after=7))
    assert (await client.request("POST", "/v1/chat/completions", ASK)).headers["retry-after"] == "7"


async def test_embeddings_pass_through(client: Client, model: ScriptedModel) -> None:
    sent = {"model": "e", "input": ["one", "two"], "dimensions": 8}
    embedded = await client.post("/v1/embeddings", sent)
    assert [len(row["embedding"]) for row in embedded["data"]] == [8, 8]
    assert (model.requests[0].path, model.requests[0].body) == ("/embeddings", sent)


async def test_no_header_of_the_answer_comes_twice(server: RunningServer, model: ScriptedModel) -> None:
    headers = {"x-request-id": "theirs", "openai-organization": "theirs", "set-cookie": "a=b", "x-theirs": "kept"}
    model.script(Failure(400, "No", headers=headers))
    answered = (await completed(server, ASK))[0].headers
    names = [name.lower() for name in answered]
    assert sorted(set(names)) == sorted(names)
    assert (answered["openai-organization"], answered["x-theirs"]) == ("understudy", "kept")
    assert answered["x-request-id"].startswith("req_")
    assert "set-cookie" not in answered


async def test_the_clients_own_key_is_never_sent_on(tmp_path: Path) -> None:
    async with (
        ScriptedModel(api_key="upstream-key") as model,
        running_server(model, tmp_path, upstream_api_key="upstream-key") as server,
    ):
        headers = {"api-key": KEY, "OpenAI-Organization": "org-1", "Cookie": "session=1"}
        asked = server.client.with_headers(headers)
        await asked.get("/v1/models")
        await asked.post("/v1/chat/completions", ASK)
        await asked.post("/v1/embeddings", {"model": "e", "input": "x"})
        assert len(model.requests) == 3
        for request in model.requests:
            assert request.headers["authorization"] == "Bearer upstream-key"
            assert KEY not in str(request.headers)
            assert not {"api-key", "openai-organization", "cookie"} & set(request.headers)


async def test_without_a_key_of_its_own_the_server_sends_none(client: Client, model: ScriptedModel) -> None:
    await client.post("/v1/chat/completions", ASK)
    assert "authorization" not in model.chats[0].headers


async def test_a_refused_upstream_key_is_not_the_clients_fault(tmp_path: Path) -> None:
    async with (
        ScriptedModel(api_key="right") as model,
        running_server(model, tmp_path, upstream_api_key="wrong-key") as server,
    ):
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
            answer = await server.client.request(method, path, ASK if method == "POST" else None)
            text = "The model server refused the configured API key (status 401)."
            assert (answer.status, answer.error["type"], answer.error["message"]) == (503, "server_error", text)


async def test_a_dead_model_server_is_told_as_such(unreachable: RunningServer) -> None:
    client = unreachable.client
    for method, path, body in (
        ("GET", "/v1/models", None),
        ("GET", "/v1/models/m", None),
        ("POST", "/v1/chat/completions", ASK),
        ("POST", "/v1/chat/completions", {**ASK, "stream": True}),
        ("POST", "/v1/embeddings", {"model": "e", "input": "x"}),
    ):
        answer = await client.request(method, path, body)
        text = "The model server cannot be reached: connection refused."
        error = {"message": text, "type": "server_error", "param": None, "code": None}
        assert (answer.status, answer.body) == (503, {"error": error})
    assert (await client.post("/v1/assistants", {"model": "m"}))["object"] == "assistant"


async def test_without_any_model_server_the_answer_says_what_to_set(tmp_path: Path) -> None:
    async with running_server(None, tmp_path) as server:
        assert await server.client.get("/v1/models") == {"object": "list", "data": []}
        answer = await server.client.request("POST", "/v1/chat/completions", ASK)
        assert answer.status == 503
        assert "UNDERSTUDY_UPSTREAM_BASE_URL" in answer.error["message"]


async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(
    server: RunningServer, model: ScriptedModel
) -> None:
    model.script(Reply("Half", Cut()))
    with pytest.raises(aiohttp.ClientPayloadError):
        await completed(server, {**ASK, "stream": True})
    assert (await server.client.get("/v1/assistants"))["data"] == []


async def test_a_passed_through_body_has_the_same_bound(tmp_path: Path, model: ScriptedModel) -> None:
    async with running_server(model, tmp_path, body_bytes_max=2048) as server:
        answer = await server.client.request("POST", "/v1/chat/completions", {**ASK, "user": "x" * 3000})
        text = "The request body is larger than the 2048 bytes that this server accepts."
        assert_refused(answer, text, status=413)
    assert model.requests == []
