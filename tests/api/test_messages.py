"""Messages over HTTP. Contract section 2.3."""

from typing import Any

import pytest

from support.answers import assert_not_found, assert_refused
from support.client import Client
from support.server import RunningServer
from support.talk import WEATHER, Talk

NOWHERE = "msg_" + "0" * 24


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


@pytest.fixture
async def path(client: Client) -> str:
    """The messages of an empty thread."""
    return f"/v1/threads/{(await client.post('/v1/threads'))['id']}/messages"


@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_a_message_made_by_hand_is_complete_at_once(client: Client, path: str, role: str) -> None:
    made = await client.post(path, {"role": role, "content": "Hello"})
    assert made == {
        "id": made["id"],
        "object": "thread.message",
        "created_at": made["created_at"],
        "thread_id": path.split("/")[3],
        "status": "completed",
        "incomplete_details": None,
        "completed_at": made["created_at"],
        "incomplete_at": None,
        "role": role,
        "content": [{"type": "text", "text": {"value": "Hello", "annotations": []}}],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }
    assert made["id"].startswith("msg_")
    assert await client.get(f"{path}/{made['id']}") == made
    assert (await client.get(path))["data"] == [made]


async def test_null_counts_as_left_out(client: Client, path: str) -> None:
    made = await client.post(path, {"role": "user", "content": "Hello", "attachments": None, "metadata": None})
    assert (made["attachments"], made["metadata"]) == ([], {})


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"type": "text", "text": "Hello"}, {"type": "text", "text": {"value": "Hello", "annotations": []}}),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        ),
    ],
)
async def test_parts_come_back_in_their_own_shape(client: Client, path: str, sent: object, shown: object) -> None:
    made = await client.post(path, {"role": "user", "content": [sent, {"type": "text", "text": "and this"}]})
    assert made["content"] == [shown, {"type": "text", "text": {"value": "and this", "annotations": []}}]


@pytest.mark.parametrize("text", [" ", "\n", "ä😀\u2028", 'quote " and \\ back', "x" * 256_000])
async def test_text_comes_back_character_for_character(client: Client, path: str, text: str) -> None:
    made = await client.post(path, {"role": "user", "content": text})
    assert made["content"][0]["text"]["value"] == text
    assert (await client.get(f"{path}/{made['id']}"))["content"] == made["content"]


async def test_only_the_metadata_of_a_message_can_change(client: Client, path: str) -> None:
    made = await client.post(path, {"role": "user", "content": "Hello", "metadata": {"a": "1", "b": "2"}})
    one = f"{path}/{made['id']}"
    changed = await client.post(one, {"metadata": {"b": "3"}})
    assert changed == {**made, "metadata": {"b": "3"}}
    for body in (None, {}, {"metadata": None}):
        assert await client.post(one, body) == changed
    assert_refused(
        await client.request("POST", one, {"content": "Other"}),
        "Unknown parameter: 'content'.",
        param="content",
        code="unknown_parameter",
    )
    assert await client.get(one) == changed
    assert (await client.post(one, {"metadata": {}}))["metadata"] == {}


async def test_a_deleted_message_is_gone_and_its_thread_stays(client: Client, path: str) -> None:
    made = await client.post(path, {"role": "user", "content": "Hello"})
    one = f"{path}/{made['id']}"
    assert await client.delete(one) == {"id": made["id"], "object": "thread.message.deleted", "deleted": True}
    for method, body in (("GET", None), ("POST", {"metadata": {}}), ("DELETE", None)):
        assert_not_found(await client.request(method, one, body), "message", made["id"])
    assert (await client.get(path))["data"] == []


async def test_a_message_is_found_under_its_own_thread_only(client: Client, path: str) -> None:
    made = await client.post(path, {"role": "user", "content": "Hello"})
    other = await client.post("/v1/threads")
    for message_id in (NOWHERE, made["id"]):
        one = f"/v1/threads/{other['id']}/messages/{message_id}"
        for method, body in (("GET", None), ("POST", {"metadata": {}}), ("DELETE", None)):
            assert_not_found(await client.request(method, one, body), "message", message_id)
    assert await client.get(f"{path}/{made['id']}") == made


async def test_an_answer_names_its_run_and_assistant(client: Client) -> None:
    talk = await Talk.begin(client, content="@say Four.")
    run = (await talk.stream())[-2].data
    question, answer = await talk.messages()
    assert answer == {
        **question,
        "id": answer["id"],
        "created_at": answer["created_at"],
        "completed_at": answer["completed_at"],
        "role": "assistant",
        "content": [{"type": "text", "text": {"value": "Four.", "annotations": []}}],
        "assistant_id": talk.assistant["id"],
        "run_id": run["id"],
    }
    assert isinstance(answer["completed_at"], int)
    by_run = await client.get(f"{talk.path}/messages", run_id=run["id"])
    assert by_run["data"] == [answer]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("@length One", "max_tokens"), ("@filter One", "content_filter"), ("@cut One", "run_failed")],
)
async def test_an_answer_that_was_broken_off_says_why(client: Client, content: str, reason: str) -> None:
    talk = await Talk.begin(client, content=content)
    await talk.stream()
    answer = (await talk.messages())[-1]
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert isinstance(answer["incomplete_at"], int)
    assert answer["completed_at"] is None
    assert answer["content"] == [{"type": "text", "text": {"value": "One", "annotations": []}}]


async def test_no_message_can_be_added_while_a_run_is_active(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    run = await talk.until(await talk.run(), "requires_action")
    before = await talk.messages()
    for role in ("user", "assistant"):
        assert_refused(
            await client.request("POST", f"{talk.path}/messages", {"role": role, "content": "Wait"}),
            f"Can't add messages to {talk.thread['id']} while a run {run['id']} is active.",
        )
    assert await talk.messages() == before
    await client.post(f"{talk.path}/runs/{run['id']}/cancel")
    await talk.until(run, "cancelled")
    await client.post(f"{talk.path}/messages", {"role": "user", "content": "Now"})


async def test_all_else_is_allowed_while_a_run_is_active(client: Client) -> None:
    talk = await Talk.begin(client, content="@call weather {}", tools=[WEATHER])
    run = await talk.until(await talk.run(), "requires_action")
    message = (await talk.messages())[0]
    one = f"{talk.path}/messages/{message['id']}"
    changed: dict[str, Any] = await client.post(one, {"metadata": {"a": "1"}})
    assert changed["metadata"] == {"a": "1"}
    assert (await client.post(talk.path, {"metadata": {"b": "2"}}))["metadata"] == {"b": "2"}
    assert (await client.post(f"{talk.path}/runs/{run['id']}", {"metadata": {"c": "3"}}))["metadata"] == {"c": "3"}
    assert (await client.delete(one))["deleted"] is True
    still = await talk.get(run)
    assert (still["status"], still["metadata"]) == ("requires_action", {"c": "3"})


@pytest.mark.parametrize(
    "fields",
    [
        {"attachments": [{"file_id": "file-nobody", "tools": [{"type": "file_search"}]}]},
        {"content": [{"type": "image_file", "image_file": {"file_id": "file-nobody"}}]},
    ],
)
async def test_a_file_that_does_not_exist_is_refused_by_name(client: Client, path: str, fields: dict[str, Any]) -> None:
    refused = await client.request("POST", path, {"role": "user", "content": "Read it", **fields})
    assert_refused(refused, "No such File object: file-nobody", status=404, param="id")
    assert (await client.get(path))["data"] == []
