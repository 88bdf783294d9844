"""One server under every prefix that clients put in front. Contract sections 1 and 11.8."""

import pytest

from support.answers import assert_refused
from support.client import Client
from support.server import KEY, RunningServer

MOUNTS = ["", "/v1", "/openai", "/openai/v1"]


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


@pytest.mark.parametrize("mount", MOUNTS)
async def test_a_whole_conversation_works_under_every_mount(client: Client, mount: str) -> None:
    assistant = await client.post(f"{mount}/assistants", {"model": "m"})
    assert (await client.get(f"{mount}/assistants/{assistant['id']}")) == assistant
    thread = await client.post(f"{mount}/threads", {"messages": [{"role": "user", "content": "@say Hello"}]})
    path = f"{mount}/threads/{thread['id']}"
    events = await client.stream(f"{path}/runs", {"assistant_id": assistant["id"]})
    run = events[-2].data
    assert run["status"] == "completed"
    assert len((await client.get(f"{path}/runs/{run['id']}/steps"))["data"]) == 1
    assert (await client.get(f"{mount}/models"))["object"] == "list"
    assert (await client.get(f"{mount}/openapi.json"))["openapi"] == "3.1.0"


async def test_what_one_mount_made_every_other_shows(client: Client) -> None:
    made = await client.post("/openai/assistants", {"model": "m"})
    for mount in MOUNTS:
        assert await client.get(f"{mount}/assistants/{made['id']}") == made


@pytest.mark.parametrize("path", ["/openai/assistants", "/assistants", "/v1/assistants"])
async def test_the_api_version_is_of_no_interest(client: Client, path: str) -> None:
    assert (await client.get(path, **{"api-version": "2024-05-01-preview"}))["object"] == "list"
    made = await client.request("POST", path, {"model": "m"}, params={"api-version": "2024-05-01-preview"})
    assert made.status == 200


@pytest.mark.parametrize("path", ["/openai/assistants", "/assistants", "/v1/models"])
async def test_azures_key_header_is_accepted_everywhere(client: Client, path: str) -> None:
    nobody = client.with_key(None)
    assert (await nobody.request("GET", path, headers={"api-key": KEY})).status == 200
    wrong = await nobody.request("GET", path, headers={"api-key": "wrong"})
    assert (wrong.status, wrong.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("mount", ["/openai", "/openai/v1"])
async def test_a_deployments_name_may_stand_before_what_is_passed_through(client: Client, mount: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "@say Hello"}]}
    completion = await client.post(f"{mount}/deployments/gpt-4o/chat/completions?api-version=2024-10-21", body)
    assert completion["choices"][0]["message"]["content"] == "Hello"
    embedded = await client.post(f"{mount}/deployments/embed/embeddings", {"model": "m", "input": "Hello"})
    assert embedded["data"][0]["object"] == "embedding"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/foo",
        "/v1assistants",
        "/v1/v1/assistants",
        "/v1/openai/assistants",
        "/v1/assistants/",
        "/v2/assistants",
        "/openai/deployments/gpt-4o/assistants",
        "/openai/foo",
    ],
)
async def test_an_unknown_url_is_named_as_it_was_asked_for(client: Client, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert_refused(await client.request(method, path), f"Invalid URL ({method} {path})", status=404)
