"""Files over HTTP: what comes back, what is listed, downloaded and deleted. Contract section 6.1."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.blobs import stored_paths
from support.client import Client
from support.clock import Clock, clock_set
from support.files import FORM, file_field, form, new_file, send_file, text_field
from support.projects import client_of
from support.server import RunningServer, running_server
from support.sockets import request_bytes
from understudy.core.limits import BLOB_PIECE_BYTES

NOWHERE = "file-" + "0" * 24
LARGE = bytes(range(256)) * (3 * BLOB_PIECE_BYTES // 256 + 1)


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


def no_such(file_id: str) -> dict[str, Any]:
    return {
        "message": f"No such File object: {file_id}",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }


# --- objects


async def test_a_new_file_is_processed_at_once(client: Client) -> None:
    file = await new_file(client, b"Hello", filename="notes.md", purpose="assistants")
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": 5,
        "created_at": file["created_at"],
        "filename": "notes.md",
        "purpose": "assistants",
        "status": "processed",
    }
    assert file["id"].startswith("file-")
    assert await client.get(f"/v1/files/{file['id']}") == file


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
async def test_each_purpose_is_taken(client: Client, purpose: str) -> None:
    assert (await new_file(client, purpose=purpose))["purpose"] == purpose


async def test_a_file_may_expire(client: Client) -> None:
    file = await new_file(client, expires_after__anchor="created_at", expires_after__seconds="3600")
    assert file["expires_at"] == file["created_at"] + 3600


@pytest.mark.parametrize("reversed_", [False, True])
async def test_fields_come_in_any_order(client: Client, reversed_: bool) -> None:
    parts = [
        text_field("purpose", "user_data"),
        text_field("expires_after[seconds]", "3600"),
        file_field("file", b"Hello", "a.txt", None),
        text_field("expires_after[anchor]", "created_at"),
    ]
    answer = await client.request("POST", "/v1/files", raw=form(*(parts[::-1] if reversed_ else parts)), headers=FORM)
    assert (answer.status, answer.body["purpose"], answer.body["bytes"]) == (200, "user_data", 5)
    assert "expires_at" in answer.body


@pytest.mark.parametrize("content", [b"", b"\r\n", b"--", b"\0" * 100, LARGE])
async def test_content_comes_back_byte_for_byte(client: Client, content: bytes) -> None:
    file = await new_file(client, content)
    assert file["bytes"] == len(content)
    assert (await client.download(f"/v1/files/{file['id']}/content")).content == content


@pytest.mark.parametrize(
    "filename",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\boot.ini",
        "..",
        ".",
        " ",
        "a\tb.txt",
        "名前 é.txt",
        "a\u202egnp.exe",
        "CON",
        "x" * 255,
        "%2e%2e%2f",
        "a;b=c'd.txt",
    ],
)
async def test_a_name_is_kept_as_it_was_sent_and_is_no_path(client: Client, filename: str) -> None:
    file = await new_file(client, b"x", filename=filename)
    assert file["filename"] == filename
    got = await client.download(f"/v1/files/{file['id']}/content")
    assert (got.status, got.content) == (200, b"x")
    shown = got.headers["content-disposition"]
    assert shown.startswith('attachment; filename="')
    assert not set(shown) & set("/\\\r\n\t")


async def test_content_without_a_name_of_its_own_is_named_all_the_same(client: Client) -> None:
    assert (await new_file(client, filename=""))["filename"] == "upload"


async def test_uploads_at_the_same_time_do_not_mix(client: Client) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    files = await asyncio.gather(*(new_file(client, content) for content in contents))
    got = await asyncio.gather(*(client.download(f"/v1/files/{file['id']}/content") for file in files))
    assert [one.content for one in got] == contents


# --- lists


@pytest.fixture
async def own(shared: RunningServer, request: pytest.FixtureRequest) -> Client:
    """A client of a project that no other test sees."""
    return await client_of(shared, request.node.name)


async def test_files_are_listed_in_the_order_of_their_creation(own: Client) -> None:
    ids = [(await new_file(own))["id"] for _ in range(25)]
    newest = await own.get("/v1/files")
    assert ([one["id"] for one in newest["data"]], newest["has_more"]) == (ids[::-1], False)
    assert (newest["first_id"], newest["last_id"]) == (ids[-1], ids[0])
    page = await own.get("/v1/files", limit=2, order="asc", after=ids[3])
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[4:6], True)


async def test_files_are_listed_by_purpose(own: Client) -> None:
    wanted = await new_file(own, purpose="vision")
    await new_file(own)
    assert (await own.get("/v1/files", purpose="vision"))["data"] == [wanted]
    assert (await own.get("/v1/files", purpose="batch_output"))["data"] == []


async def test_a_list_without_files_has_no_first_and_last(own: Client) -> None:
    listed = await own.get("/v1/files")
    assert listed == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("limit", [1, 10_000])
async def test_a_page_may_be_that_long(client: Client, limit: int) -> None:
    await client.get("/v1/files", limit=limit)


@pytest.mark.parametrize(
    ("query", "message", "param", "code"),
    [
        (
            {"limit": 10_001},
            "Invalid 'limit': integer above maximum value. Expected a value <= 10000, but got 10001 instead.",
            "limit",
            "integer_above_max_value",
        ),
        (
            {"limit": 0},
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "limit",
            "integer_below_min_value",
        ),
        ({"after": NOWHERE}, f"No file found with id '{NOWHERE}'.", "after", None),
        (
            {"purpose": "fun"},
            "Invalid value: 'fun'. Supported values are: 'assistants', 'assistants_output', 'batch', 'batch_output', "
            "'fine-tune', 'fine-tune-results', 'vision', 'user_data', and 'evals'.",
            "purpose",
            "invalid_value",
        ),
    ],
)
async def test_a_list_that_cannot_be_had_is_refused(
    client: Client, query: dict[str, Any], message: str, param: str, code: str | None
) -> None:
    answer = await client.request("GET", "/v1/files", params=query)
    told = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert (answer.status, answer.error) == (400, told)


# --- downloads


@pytest.mark.parametrize(
    ("filename", "content_type", "served"),
    [
        ("a.txt", "text/plain; charset=utf-8", "text/plain"),
        ("a.png", None, "image/png"),
        ("a.PDF", "application/octet-stream", "application/pdf"),
        ("a", "image/jpeg", "image/jpeg"),
        ("a.html", "text/html", "application/octet-stream"),
        ("a.svg", "image/svg+xml", "application/octet-stream"),
        ("a.xml", "text/xml", "application/octet-stream"),
        ("a.js", "text/javascript", "application/octet-stream"),
        ("a.json", "application/json", "application/octet-stream"),
        ("a", "no type at all", "application/octet-stream"),
    ],
)
async def test_a_download_has_a_type_of_which_a_browser_runs_nothing(
    client: Client, filename: str, content_type: str | None, served: str
) -> None:
    file = await new_file(client, b"<script>", filename=filename, content_type=content_type)
    got = await client.download(f"/v1/files/{file['id']}/content")
    assert got.headers["content-type"] == served
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-disposition"].startswith("attachment;")
    assert got.headers["content-length"] == "8"


async def test_a_download_carries_its_name_in_every_alphabet(client: Client) -> None:
    file = await new_file(client, filename="dir/né 名.txt")
    got = await client.download(f"/v1/files/{file['id']}/content")
    assert got.headers["content-disposition"] == (
        "attachment; filename=\"n_ _.txt\"; filename*=UTF-8''n%C3%A9%20%E5%90%8D.txt"
    )


async def test_a_head_tells_the_length_and_sends_nothing(client: Client) -> None:
    file = await new_file(client, LARGE)
    got = await client.download(f"/v1/files/{file['id']}/content", method="HEAD")
    assert (got.status, got.content, got.headers["content-length"]) == (200, b"", str(len(LARGE)))


async def test_files_of_assistants_are_not_downloaded_where_the_operator_is_as_strict_as_the_service(
    tmp_path: Path,
) -> None:
    async with running_server(None, tmp_path, download_assistants_files=False) as server:
        for purpose in ("assistants", "user_data"):
            file = await new_file(server.client, purpose=purpose)
            answer = await server.client.request("GET", f"/v1/files/{file['id']}/content")
            assert (answer.status, answer.error["code"]) == (400, None)
            assert answer.error["message"] == f"Not allowed to download files of purpose: {purpose}"
        file = await new_file(server.client, b"x", purpose="batch")
        assert (await server.client.download(f"/v1/files/{file['id']}/content")).content == b"x"


# --- whose it is


PATHS = ["/v1/files/{}", "/v1/files/{}/content"]


@pytest.mark.parametrize(("method", "path"), [("GET", PATHS[0]), ("DELETE", PATHS[0]), ("GET", PATHS[1])])
async def test_a_file_that_is_not_there_is_not_found_in_the_services_words(
    client: Client, method: str, path: str
) -> None:
    for id_ in (NOWHERE, "thread_0"):
        answer = await client.request(method, path.format(id_))
        assert (answer.status, answer.error) == (404, no_such(id_))
    answer = await client.request(method, path.format("nonsense"))
    assert answer.status == 400
    assert answer.error["message"] == "Invalid 'file_id': 'nonsense'. Expected an ID that begins with 'file'."


@pytest.mark.parametrize(("method", "path"), [("GET", PATHS[0]), ("DELETE", PATHS[0]), ("GET", PATHS[1])])
async def test_another_projects_file_does_not_exist(
    shared: RunningServer, client: Client, method: str, path: str
) -> None:
    file = await new_file(client)
    stranger = await client_of(shared, "strangers")
    answer = await stranger.request(method, path.format(file["id"]))
    assert (answer.status, answer.error) == (404, no_such(file["id"]))
    assert await client.get(f"/v1/files/{file['id']}") == file


BODIES: list[tuple[str, Any]] = [
    ("/v1/assistants", {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": ["FILE"]}}}),
    ("/v1/assistants/ASSISTANT", {"tool_resources": {"code_interpreter": {"file_ids": ["FILE"]}}}),
    ("/v1/threads", {"tool_resources": {"code_interpreter": {"file_ids": ["FILE"]}}}),
    (
        "/v1/threads",
        {"messages": [{"role": "user", "content": "x", "attachments": [{"file_id": "FILE", "tools": []}]}]},
    ),
    ("/v1/threads/THREAD", {"tool_resources": {"code_interpreter": {"file_ids": ["FILE"]}}}),
    ("/v1/threads/THREAD/messages", {"role": "user", "content": "x", "attachments": [{"file_id": "FILE"}]}),
    (
        "/v1/threads/THREAD/messages",
        {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "FILE"}}]},
    ),
    (
        "/v1/threads/THREAD/runs",
        {
            "assistant_id": "ASSISTANT",
            "additional_messages": [{"role": "user", "content": "x", "attachments": [{"file_id": "FILE"}]}],
        },
    ),
    (
        "/v1/threads/runs",
        {"assistant_id": "ASSISTANT", "tool_resources": {"code_interpreter": {"file_ids": ["FILE"]}}},
    ),
    (
        "/v1/threads/runs",
        {
            "assistant_id": "ASSISTANT",
            "thread": {"tool_resources": {"code_interpreter": {"file_ids": ["FILE"]}}},
        },
    ),
]


def filled(body: Any, **ids: str) -> Any:
    """The value with ids in the place of their capital names."""
    match body:
        case dict():
            return {key: filled(value, **ids) for key, value in body.items()}
        case list():
            return [filled(value, **ids) for value in body]
        case _:
            return ids.get(body, body) if isinstance(body, str) else body


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_a_file_in_a_body_must_be_the_callers(
    shared: RunningServer, client: Client, path: str, body: Any
) -> None:
    assistant = await client.post("/v1/assistants", {"model": "m", "instructions": "Be brief."})
    thread = await client.post("/v1/threads")
    others = await new_file(await client_of(shared, "strangers"))
    path = path.replace("ASSISTANT", assistant["id"]).replace("THREAD", thread["id"])
    for file_id in (NOWHERE, "nonsense", others["id"]):
        answer = await client.request("POST", path, filled(body, FILE=file_id, ASSISTANT=assistant["id"]))
        assert (answer.status, answer.error) == (404, no_such(file_id))
    assert await client.get(f"/v1/assistants/{assistant['id']}") == assistant
    assert await client.get(f"/v1/threads/{thread['id']}") == thread
    assert (await client.get(f"/v1/threads/{thread['id']}/messages"))["data"] == []
    mine = await new_file(client)
    assert (await client.request("POST", path, filled(body, FILE=mine["id"], ASSISTANT=assistant["id"]))).status == 200


# --- deletion and expiry


async def test_a_deleted_file_is_gone_from_everywhere(client: Client) -> None:
    file, kept = await new_file(client), await new_file(client)
    resources = {"code_interpreter": {"file_ids": [kept["id"], file["id"]]}}
    assistant = await client.post("/v1/assistants", {"model": "m", "tool_resources": resources})
    thread = await client.post("/v1/threads", {"tool_resources": resources})
    assert await client.delete(f"/v1/files/{file['id']}") == {"id": file["id"], "object": "file", "deleted": True}
    left = {"code_interpreter": {"file_ids": [kept["id"]]}}
    assert (await client.get(f"/v1/assistants/{assistant['id']}"))["tool_resources"] == left
    assert (await client.get(f"/v1/threads/{thread['id']}"))["tool_resources"] == left
    answer = await client.request("DELETE", f"/v1/files/{file['id']}")
    assert (answer.status, answer.error) == (404, no_such(file["id"]))
    assert file["id"] not in [one["id"] for one in (await client.get("/v1/files"))["data"]]


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as clock:
        yield clock


@pytest.fixture
async def timed(clock: Clock, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose clock is set by hand."""
    async with running_server(None, tmp_path) as server:
        yield server


async def test_an_expired_file_does_not_exist(timed: RunningServer, clock: Clock) -> None:
    client = timed.client
    file = await new_file(client, expires_after__anchor="created_at", expires_after__seconds="3600")
    clock.advance(3599)
    assert await client.get(f"/v1/files/{file['id']}") == file
    clock.advance(1)
    for path in PATHS:
        answer = await client.request("GET", path.format(file["id"]))
        assert (answer.status, answer.error) == (404, no_such(file["id"]))
    assert (await client.get("/v1/files"))["data"] == []
    body = {"tool_resources": {"code_interpreter": {"file_ids": [file["id"]]}}}
    assert (await client.request("POST", "/v1/threads", body)).status == 404


# --- mounts and keys


@pytest.mark.parametrize("mount", ["/v1", "/openai/v1", "/openai", ""])
async def test_files_are_served_under_every_mount_and_without_a_beta_header(client: Client, mount: str) -> None:
    azure = client.with_key(None).with_headers({"api-key": client._headers["Authorization"].split()[1]})
    answer = await azure.request(
        "POST",
        f"{mount}/files?api-version=2024-05-01-preview",
        raw=form(text_field("purpose", "assistants"), file_field("file", b"x", "a.txt", None)),
        headers=FORM,
    )
    assert answer.status == 200
    got = await azure.download(f"{mount}/files/{answer.body['id']}/content?api-version=2024-05-01-preview")
    assert got.content == b"x"


async def test_files_need_no_beta_header_where_it_is_required(tmp_path: Path) -> None:
    async with running_server(None, tmp_path, beta_header="required") as server:
        assert (await send_file(server.client, b"x")).status == 200


async def test_nothing_is_taken_without_a_key(tmp_path: Path) -> None:
    async with running_server(None, tmp_path) as server:
        answer = await send_file(server.client.with_key(None), b"x")
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert stored_paths(server.settings.files_dir) == []


# --- how clients send and spell


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(shared: RunningServer) -> None:
    """As curl does before a file of any size."""
    body = form(text_field("purpose", "assistants"), file_field("file", b"Hello", "a.txt", None))
    headers = {"content_type": FORM["Content-Type"], "expect": "100-continue", "connection": "close"}
    head = request_bytes("POST", "/v1/files", shared.key, body, **headers).removesuffix(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(shared.url.rpartition(":")[2]))
    writer.write(head)
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await writer.wait_closed()


async def test_unknown_fields_are_dropped_where_the_operator_wants_it_so(tmp_path: Path) -> None:
    async with running_server(None, tmp_path, unknown_keys="drop") as server:
        assert (await send_file(server.client, b"x", user="me")).status == 200


async def test_the_first_versions_file_ids_name_real_files(client: Client) -> None:
    file = await new_file(client)
    given = {"model": "m", "tools": [{"type": "code_interpreter"}], "file_ids": [file["id"]]}
    for old in (client, client.with_headers({"OpenAI-Beta": "assistants=v1"})):
        assistant = await old.post("/v1/assistants", given)
        assert assistant["tool_resources"] == {"code_interpreter": {"file_ids": [file["id"]]}}
        assert assistant.get("file_ids", [file["id"]]) == [file["id"]]
        refused = await old.request("POST", "/v1/assistants", {**given, "file_ids": [NOWHERE]})
        assert (refused.status, refused.error) == (404, no_such(NOWHERE))
        thread = await old.post("/v1/threads")
        message = {"role": "user", "content": "x", "file_ids": [NOWHERE]}
        refused = await old.request("POST", f"/v1/threads/{thread['id']}/messages", message)
        assert (refused.status, refused.error) == (404, no_such(NOWHERE))
