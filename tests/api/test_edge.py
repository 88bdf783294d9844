"""What every request passes: keys, headers, bodies that cannot be read, settings of the wire. Contract section 1."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.answers import assert_refused
from support.client import Client
from support.projects import client_of
from support.server import KEY, RunningServer, running_server
from support.talk import Talk
from understudy import entropy
from understudy.api.edge import Edge, EdgeSettings
from understudy.core import errors
from understudy.core.ids import ProjectId

KEYS_URL = "https://platform.openai.com/account/api-keys"
NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    f"(i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from {KEYS_URL}."
)
BETA_MISSING = (
    "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
    "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
)
V1_ENDED = (
    "The v1 Assistants API has been deprecated. See the migration guide for more information: "
    "https://platform.openai.com/docs/assistants/migration."
)
UNREADABLE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The API expects a JSON object as the payload, but "
)


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Method and path of everything that is served, with an id of the right kind for each parameter."""
    ids = {"assistant": "asst_1", "thread": "thread_1", "message": "msg_1", "run": "run_1", "step": "step_1"}
    names = {f"{{{kind}_id}}": id_ for kind, id_ in ids.items()}
    for path, methods in document["paths"].items():
        full = path.replace("{model}", "m")
        for name, id_ in names.items():
            full = full.replace(name, id_)
        yield from ((method.upper(), full) for method in methods)


# --- keys


async def test_every_route_but_health_needs_a_key(client: Client) -> None:
    served = list(operations(await client.get("/openapi.json")))
    assert len(served) > 25
    nobody = client.with_key(None)
    for method, path in [*served, ("GET", "/openapi.json"), ("GET", "/foo"), ("PATCH", "/assistants"), ("GET", "/")]:
        if path in ("/healthz", "/readyz"):
            continue
        for mount in ("", "/v1"):
            assert_refused(await nobody.request(method, mount + path), NO_KEY, status=401, code="invalid_api_key")


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic abc", KEY, ""])
async def test_a_header_without_a_key_is_no_key(client: Client, header: str) -> None:
    answer = await client.with_key(None).request("GET", "/v1/assistants", headers={"Authorization": header})
    assert_refused(answer, NO_KEY, status=401, code="invalid_api_key")


@pytest.mark.parametrize(("key", "shown"), [("sk-abcdefghijklmnopxyz", "sk-ab***yz"), ("short", "***")])
async def test_a_wrong_key_is_shown_masked(client: Client, key: str, shown: str) -> None:
    for method, path in (("GET", "/v1/assistants"), ("POST", "/v1/threads"), ("GET", "/v1/foo")):
        assert_refused(
            await client.with_key(key).request(method, path),
            f"Incorrect API key provided: '{shown}'. You can find your API key at {KEYS_URL}.",
            status=401,
            code="invalid_api_key",
        )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_may_be_spelled_in_any_case(client: Client, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {KEY}"}
    assert (await client.with_key(None).request("GET", "/v1/assistants", headers=headers)).status == 200


async def test_a_key_opens_its_own_project(shared: RunningServer) -> None:
    first, second = await client_of(shared, "edge-a"), await client_of(shared, "edge-a")
    made = await first.post("/v1/assistants", {"model": "m"})
    assert await second.get(f"/v1/assistants/{made['id']}") == made


# --- headers


async def test_every_answer_has_the_services_headers(client: Client) -> None:
    asked: list[tuple[Client, str, str]] = [
        (client, "GET", "/v1/assistants"),
        (client, "POST", "/v1/threads"),
        (client, "POST", "/v1/assistants"),
        (client, "GET", "/v1/assistants/asst_nobody"),
        (client, "GET", "/v1/foo"),
        (client, "PUT", "/v1/assistants"),
        (client.with_key(None), "GET", "/v1/assistants"),
        (client.with_key(None), "GET", "/healthz"),
    ]
    seen = set()
    for who, method, path in asked:
        headers = (await who.request(method, path)).headers
        assert headers["content-type"] == "application/json"
        assert headers["openai-version"] == "2020-10-01"
        assert headers["openai-organization"] == "understudy"
        assert headers["openai-processing-ms"].isdigit()
        request_id = headers["x-request-id"]
        assert request_id.startswith("req_")
        assert len(bytes.fromhex(request_id.removeprefix("req_"))) == 16
        seen.add(request_id)
    assert len(seen) == len(asked)


async def test_a_stream_has_the_services_headers(shared: RunningServer) -> None:
    talk = await Talk.begin(shared.client, content="@say Hello")
    body = {"assistant_id": talk.assistant["id"], "stream": True}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(shared.url, headers=headers) as session,
        session.post(f"{talk.path}/runs", json=body) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-request-id"].startswith("req_")
        assert response.headers["openai-version"] == "2020-10-01"
        assert (await response.read()).endswith(b"event: done\ndata: [DONE]\n\n")


async def test_what_official_clients_send_along_is_ignored(client: Client) -> None:
    headers = {
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj_1",
        "X-Stainless-Lang": "python",
        "X-Stainless-Package-Version": "1.0",
        "X-Stainless-Retry-Count": "1",
        "X-Stainless-Poll-Helper": "true",
        "Idempotency-Key": "one",
    }
    assert (await client.request("GET", "/v1/assistants", headers=headers)).status == 200


# --- bodies


@pytest.mark.parametrize("path", ["/v1/assistants", "/v1/threads", "/v1/threads/runs", "/v1/threads/thread_1/messages"])
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "what was sent was not valid JSON.)"),
        (b'{"model": }', "what was sent was not valid JSON: invalid character (byte 10).)"),
        (b"[]", "what was sent was an array.)"),
        (b'"x"', "what was sent was a string.)"),
        (b"null", "what was sent was null.)"),
        (b'{"model": "\xff"}', "what was sent was not valid UTF-8.)"),
        (b"[" * 100 + b"]" * 100, "what was sent is nested 100 levels deep, and 64 is the limit.)"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(client: Client, path: str, raw: bytes, reason: str) -> None:
    assert_refused(await client.request("POST", path, raw=raw), UNREADABLE + reason)


async def test_a_body_that_is_needed_cannot_be_left_out(client: Client) -> None:
    for raw in (b"", b"  \n"):
        assert_refused(await client.request("POST", "/v1/assistants", raw=raw), UNREADABLE + "it was empty.)")


async def test_the_bodys_content_type_is_of_no_interest(client: Client) -> None:
    for type_ in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        answer = await client.request("POST", "/v1/assistants", raw=b'{"model":"m"}', headers={"Content-Type": type_})
        assert answer.status == 200


async def test_a_body_that_is_too_large_is_refused_declared_or_not(tmp_path: Path) -> None:
    async with running_server(None, tmp_path, body_bytes_max=2048) as server:
        text = "The request body is larger than the 2048 bytes that this server accepts."
        body = json.dumps({"model": "m", "instructions": "x" * 3000}).encode()
        assert_refused(await server.client.request("POST", "/v1/assistants", raw=body), text, status=413)

        async def pieces() -> AsyncIterator[bytes]:
            yield body[:1500]
            yield body[1500:]

        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(server.url, headers=headers) as session,
            session.post("/v1/assistants", data=pieces()) as response,
        ):
            assert (response.status, (await response.json())["error"]["message"]) == (413, text)
        assert (await server.client.get("/v1/assistants"))["data"] == []
        assert (await server.client.post("/v1/assistants", {"model": "m" * 2000}))["object"] == "assistant"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_wrong_method_is_told_as_json(client: Client, method: str) -> None:
    assert_refused(
        await client.request(method, "/v1/assistants"),
        f"Not allowed to {method} on /v1/assistants. (HINT: Perhaps you meant to use a different HTTP method?)",
        status=405,
        code="method_not_supported",
    )


# --- settings


async def test_where_the_beta_header_is_required_its_absence_is_told(tmp_path: Path) -> None:
    async with running_server(None, tmp_path, beta_header="required") as server:
        client = server.client
        for method, path in (("GET", "/v1/assistants"), ("POST", "/openai/threads"), ("GET", "/vector_stores")):
            assert_refused(await client.request(method, path), BETA_MISSING, code="invalid_beta")
            v1 = await client.request(method, path, headers={"OpenAI-Beta": "assistants=v1"})
            assert_refused(v1, V1_ENDED, code="invalid_beta")
        assert await client.with_headers({"OpenAI-Beta": "assistants=v2"}).get("/v1/assistants")
        assert (await client.get("/v1/models"))["object"] == "list"
        wrong = await client.with_key("wrong").request("GET", "/v1/assistants")
        assert wrong.status == 401


@pytest.mark.parametrize("headers", [{}, {"OpenAI-Beta": "assistants=v2"}, {"OpenAI-Beta": "realtime=v1"}])
async def test_by_default_the_beta_header_may_be_absent(client: Client, headers: dict[str, str]) -> None:
    assert (await client.request("POST", "/v1/threads", headers=headers)).status == 200


async def test_unknown_keys_are_dropped_where_the_setting_says_so(tmp_path: Path) -> None:
    async with running_server(None, tmp_path, unknown_keys="drop", worker=False) as server:
        client = server.client
        tool = {"type": "function", "zebra": 1, "function": {"name": "f", "zebra": 1, "parameters": {"zebra": 1}}}
        made = await client.post("/v1/assistants", {"model": "m", "zebra": 1, "tools": [tool]})
        function = {"name": "f", "parameters": {"zebra": 1}, "strict": False}
        assert made["tools"] == [{"type": "function", "function": function}]
        assert "zebra" not in made
        message = {"role": "user", "content": [{"type": "text", "text": "x", "zebra": 1}], "zebra": 1}
        run = await client.post(
            "/v1/threads/runs", {"assistant_id": made["id"], "zebra": 1, "thread": {"messages": [message]}}
        )
        assert run["status"] == "queued"
        wrong = await client.request("POST", "/v1/assistants", {"zebra": 1})
        assert wrong.error["param"] == "model"


# --- failures of ours


@pytest.mark.parametrize(
    ("crash", "status", "text"),
    [
        (RuntimeError("secret"), 500, errors.CRASHED),
        (errors.Unavailable("Later."), 503, "Later."),
    ],
)
async def test_a_crash_is_told_without_its_reason(crash: Exception, status: int, text: str) -> None:
    class AnyKey:
        async def project(self, key: str) -> ProjectId | None:
            return ProjectId(key)

    async def routes(scope: object, receive: object, send: object) -> None:
        raise crash

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    settings = EdgeSettings(organization="o", beta_required=False)
    edge = Edge(routes, AnyKey(), settings, clock=entropy.now, new_id=entropy.new_id)
    headers = [(b"authorization", b"Bearer k")]
    await edge({"type": "http", "method": "GET", "path": "/v1/x", "headers": headers}, receive, send)
    start, body = sent
    assert start["status"] == status
    assert b"x-request-id" in dict(start["headers"])
    error = {"message": text, "type": "server_error", "param": None, "code": None}
    assert json.loads(body["body"]) == {"error": error}
