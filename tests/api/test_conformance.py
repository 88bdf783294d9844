"""Every answer of a broad scenario, held against `/openapi.json` and against the vendor's own description."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.client import Answer, Client, Event
from support.files import file_field, new_file, send_form
from support.server import RunningServer
from support.talk import WEATHER, Talk, polled
from support.vendor_shapes import DELETED, SHAPES, shape_faults

REFUSAL = "4XX"


@dataclass(frozen=True)
class Heard:
    """One request and what it brought back: JSON, or the events of a stream."""

    method: str
    path: str
    status: int
    body: Any = None
    events: tuple[Event, ...] = ()


class ListeningClient(Client):
    """Keeps all that it hears."""

    def __init__(self, client: Client, heard: list[Heard]) -> None:
        super().__init__(client._session, None)
        self._headers = client._headers
        self.heard = heard

    async def request(self, method: str, path: str, *args: Any, **options: Any) -> Answer:
        answer = await super().request(method, path, *args, **options)
        self.heard.append(Heard(method, path, answer.status, body=answer.body))
        return answer

    @asynccontextmanager
    async def open_stream(self, path: str, body: dict[str, Any] | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        events: list[Event] = []

        async def listening(stream: AsyncIterator[Event]) -> AsyncIterator[Event]:
            async for event in stream:
                events.append(event)
                yield event

        async with super().open_stream(path, body) as stream:
            yield listening(stream)
        self.heard.append(Heard("POST", path, 200, events=tuple(events)))


class Document:
    """`/openapi.json` as a validator of answers."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._components = document["components"]
        self._paths = document["paths"]
        # A path without a parameter in a place is a better match than one with.
        self._patterns = [
            (re.compile(_segments(path) + r"\Z"), path)
            for path in sorted(self._paths, key=lambda path: path.count("{"))
        ]

    def operation(self, heard: Heard) -> dict[str, Any]:
        path = heard.path.removeprefix("/v1")
        template = next(template for pattern, template in self._patterns if pattern.match(path))
        found: dict[str, Any] = self._paths[template][heard.method.lower()]
        return found

    def faults(self, heard: Heard) -> list[str]:
        responses = self.operation(heard)["responses"]
        response = responses["200"] if heard.status == 200 else self._resolved(responses[REFUSAL])
        if heard.events:
            shape = response["content"]["text/event-stream"]["schema"]
            frames = [{"event": event.name, "data": event.data} for event in heard.events]
            return [fault for frame in frames for fault in self._faults(shape, frame)]
        return self._faults(response["content"]["application/json"]["schema"], heard.body)

    def _resolved(self, response: dict[str, Any]) -> Any:
        return self._components["responses"][response["$ref"].rpartition("/")[2]]

    def _faults(self, shape: dict[str, Any], shown: Any) -> list[str]:
        validator = Draft202012Validator({**shape, "components": self._components})
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(shown)]


def _segments(path: str) -> str:
    """A path's template as a pattern. The names of models may have slashes in them, ids have none."""
    return re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path).replace(r"\{model\}", ".+"))


async def every_kind_of_run(client: Client) -> None:
    """Runs that end in each way, streamed or not, with all that hangs on them looked at."""
    endings = ["@say Hello", "@refuse No", "@length Half", "@filter Half", "@cut Half", "@fail 400 No", "@fail 429 No"]
    for content in endings:
        talk = await Talk.begin(client, content=content)
        await look_around(talk, (await talk.stream())[-2].data)
    talk = await Talk.begin(client, content='@saycall weather {"city": "Oslo"}', tools=[WEATHER])
    run = (await talk.stream())[-2].data
    await look_around(talk, run)
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "Rain"} for call in calls_of(run)]}
    await client.stream(f"{talk.path}/runs/{run['id']}/submit_tool_outputs", outputs)
    await look_around(talk, run)
    run = await talk.until(await talk.run(), "requires_action")
    await client.post(f"{talk.path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": [
        {"tool_call_id": call["id"]} for call in calls_of(run)
    ]})  # fmt: skip
    await talk.until(run, "completed")
    run = await talk.until(await talk.run(), "requires_action")
    await client.post(f"{talk.path}/runs/{run['id']}/cancel")
    await look_around(talk, await talk.until(run, "cancelled"))
    await client.request("POST", f"{talk.path}/runs/{run['id']}/cancel")


def calls_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return calls


async def look_around(talk: Talk, run: dict[str, Any]) -> None:
    client, path = talk.client, f"{talk.path}/runs/{run['id']}"
    await client.post(path, {"metadata": {"seen": "yes"}})
    await talk.get(run)
    await client.get(f"{talk.path}/runs")
    for step in await talk.steps(run):
        await client.get(f"{path}/steps/{step['id']}")
    for message in await talk.messages():
        await client.get(f"{talk.path}/messages/{message['id']}")


async def every_kind_of_object(client: Client) -> None:
    """Assistants, threads and messages of every form, changed, listed and deleted; and refusals of each kind."""
    tools = [{"type": "code_interpreter"}, {"type": "file_search", "file_search": {"max_num_results": 3}}, WEATHER]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
    rich = {"model": "m", "name": "n", "tools": tools, "response_format": schema, "reasoning_effort": "low"}
    for body in ({"model": "m"}, rich):
        made = await client.post("/v1/assistants", body)
        path = f"/v1/assistants/{made['id']}"
        await client.post(path, {"metadata": {"a": "1"}})
        await client.get(path)
        await client.get("/v1/assistants", limit=2)
        choice = {"type": "function", "function": {"name": "weather"}}
        await client.post("/v1/threads/runs", {"assistant_id": made["id"], "instructions": "x", "tool_choice": choice})
        await client.delete(path)
        await client.request("GET", path)
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    thread = await client.post("/v1/threads", {"messages": [{"role": "assistant", "content": parts}]})
    path = f"/v1/threads/{thread['id']}"
    await client.get("/v1/threads", limit=2)
    await client.get(path)
    await client.post(path, {"tool_resources": {"code_interpreter": {"file_ids": []}}})
    message = await client.post(f"{path}/messages", {"role": "user", "content": "x"})
    await client.post(f"{path}/messages/{message['id']}", {"metadata": {"a": "1"}})
    await client.delete(f"{path}/messages/{message['id']}")
    await client.get(f"{path}/messages", limit=1)
    await client.get(f"{path}/messages", after=(await client.get(f"{path}/messages"))["last_id"])
    await client.request("POST", f"{path}/messages", {"role": "user"})
    await client.request("GET", f"{path}/runs/run_nobody")
    await client.delete(path)
    await client.request("DELETE", path)
    for listed in (await client.get("/v1/models"))["data"]:
        await client.get(f"/v1/models/{listed['id']}")


async def every_kind_of_file(client: Client) -> None:
    """Files and uploads, listed, named in other objects, and deleted; and refusals of them."""
    file = await new_file(client, expires_after__anchor="created_at", expires_after__seconds="3600")
    await client.get("/v1/files")
    await client.get(f"/v1/files/{file['id']}")
    image = {"type": "image_file", "image_file": {"file_id": file["id"]}}
    message = {"role": "user", "content": [image], "attachments": [{"file_id": file["id"], "tools": []}]}
    await client.post("/v1/threads/runs", {
        "assistant_id": (await client.post("/v1/assistants", {"model": "m", "instructions": "x"}))["id"],
        "thread": {"messages": [message]},
    })  # fmt: skip
    thread = await client.post("/v1/threads", {"messages": [message]})
    await client.get(f"/v1/threads/{thread['id']}/messages")
    given = {"filename": "a.txt", "purpose": "assistants", "bytes": 5, "mime_type": "text/plain"}
    for ending in ("complete", "cancel"):
        upload = await client.post("/v1/uploads", given)
        path = f"/v1/uploads/{upload['id']}"
        part = (await send_form(client, f"{path}/parts", file_field("data", b"Hello", "blob", None))).body
        for _ in range(2):
            await client.request("POST", f"{path}/{ending}", {"part_ids": [part["id"]]})
    await send_form(client, "/v1/files")
    await client.delete(f"/v1/files/{file['id']}")
    await client.request("GET", f"/v1/files/{file['id']}")


async def every_kind_of_vector_store(client: Client) -> None:
    """Stores with files that can and cannot be read, batches, searches, and stores made along; and refusals."""
    good, bad = await new_file(client, b"A zebra.", filename="a.md"), await new_file(client, b"", filename="b.txt")
    week = {"anchor": "last_active_at", "days": 7}
    store = await client.post("/v1/vector_stores", {"file_ids": [good["id"], bad["id"]], "expires_after": week})
    path = f"/v1/vector_stores/{store['id']}"
    await until_indexed(client, path)
    await client.post(path, {"name": "N", "metadata": {"a": "1"}})
    await client.get("/v1/vector_stores", limit=2)
    await client.post(f"{path}/files/{good['id']}", {"attributes": {"n": 1, "s": "x", "b": True}})
    await client.get(f"{path}/files/{bad['id']}")
    await client.get(f"{path}/files", filter="failed")
    await client.get(f"{path}/files/{good['id']}/content")
    await client.post(f"{path}/search", {"query": ["zebra"], "filters": {"type": "eq", "key": "n", "value": 1}})
    await client.post(f"{path}/files", {"file_id": good["id"]})
    for body in ({"file_ids": [good["id"]]}, {"files": [{"file_id": bad["id"], "attributes": {"a": 1.5}}]}):
        batch = await client.post(f"{path}/file_batches", body)
        await client.post(f"{path}/file_batches/{batch['id']}/cancel")
        await client.get(f"{path}/file_batches/{batch['id']}")
        await client.get(f"{path}/file_batches/{batch['id']}/files")
    made = {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": [good["id"]]}]}}}
    attachment = {"file_id": good["id"], "tools": [{"type": "file_search"}, {"type": "code_interpreter"}]}
    await client.post("/v1/assistants", {"model": "m", **made})
    await client.post("/v1/threads", made | {"messages": [message_with(attachment)]})
    await client.request("POST", path, {"name": 1})
    await client.request("POST", f"{path}/file_batches", {})
    await client.delete(f"{path}/files/{good['id']}")
    await client.request("GET", f"{path}/files/{good['id']}")
    await client.delete(path)
    await client.request("POST", f"{path}/search", {"query": "x"})


def message_with(attachment: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": "x", "attachments": [attachment]}


async def until_indexed(client: Client, path: str) -> None:
    async def look() -> bool | None:
        return (await client.get(path))["status"] == "completed" or None

    await polled(look)


@pytest.fixture(scope="module")
async def heard(shared: RunningServer) -> list[Heard]:
    client = ListeningClient(shared.client, [])
    await every_kind_of_object(client)
    await every_kind_of_file(client)
    await every_kind_of_vector_store(client)
    await every_kind_of_run(client)
    return client.heard


def shown_in(heard: list[Heard]) -> list[Any]:
    """Every JSON value that was heard."""
    bodies = [one.body for one in heard if not one.events]
    return bodies + [event.data for one in heard for event in one.events if event.name != "done"]


async def test_every_answer_is_as_the_servers_own_document_says(shared: RunningServer, heard: list[Heard]) -> None:
    document = Document(await shared.client.get("/openapi.json"))
    faults = {f"{one.method} {one.path} {one.status}": found for one in heard if (found := document.faults(one))}
    assert not faults


def test_every_answer_is_as_the_vendors_description_says(heard: list[Heard]) -> None:
    faults = [(shown, found) for shown in shown_in(heard) if (found := shape_faults(shown))]
    assert not faults


async def test_the_scenario_reaches_every_operation(shared: RunningServer, heard: list[Heard]) -> None:
    described = await shared.client.get("/openapi.json")
    document = Document(described)
    all_ids = {one["operationId"] for methods in described["paths"].values() for one in methods.values()}
    untyped = {"createChatCompletion", "createEmbedding", "downloadFile", "health", "readiness", "streamRun"}
    assert all_ids - {document.operation(one)["operationId"] for one in heard} <= untyped


def test_the_scenario_reaches_every_object_and_every_ending(heard: list[Heard]) -> None:
    found = [item for shown in shown_in(heard) for item in (shown["data"] if "first_id" in shown else [shown])]
    assert {one["object"] for one in found if "object" in one} >= {*SHAPES, *DELETED}
    statuses = {one["status"] for one in found if one.get("object") == "thread.run"}
    assert statuses == {
        "queued",
        "in_progress",
        "requires_action",
        "cancelling",
        "cancelled",
        "failed",
        "completed",
        "incomplete",
    }
