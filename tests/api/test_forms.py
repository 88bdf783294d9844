"""Multipart forms over HTTP: every fault has its refusal, and of what is refused or broken off nothing stays."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from support.answers import assert_refused
from support.blobs import stored_paths
from support.client import Client
from support.files import FORM, file_field, form, part, send_file, send_form, text_field
from support.server import RunningServer, running_server
from support.sockets import chunked, request_bytes, send_and_leave, send_bytes
from support.talk import polled
from understudy.api import form as form_module
from understudy.blobs import local
from understudy.core.limits import FORM_FIELDS_MAX, FORM_OVERHEAD_BYTES_MAX, FORM_TEXT_BYTES_MAX

LARGEST = 100_000
PURPOSE = text_field("purpose", "assistants")
FILE = file_field("file", b"Hello", "a.txt", "text/plain")


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """A server that takes small files, and writes every few bytes of them to the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "BLOB_PIECE_BYTES", 16)
        async with running_server(None, tmp_path_factory.mktemp("forms"), file_bytes_max=LARGEST) as running:
            yield running


@pytest.fixture
def client(server: RunningServer) -> Client:
    return server.client


@pytest.fixture(autouse=True)
async def nothing_stays(server: RunningServer) -> AsyncIterator[None]:
    """Whatever a test sends is refused: no file and no byte of one is there afterwards."""
    yield

    async def clean() -> bool | None:
        return True if not stored_paths(server.settings.files_dir) else None

    assert await polled(clean)
    assert (await server.client.get("/v1/files"))["data"] == []


def port_of(server: RunningServer) -> int:
    return int(server.url.rpartition(":")[2])


# --- fields


MISSING = "missing_required_parameter"
FIELDS: list[tuple[Sequence[bytes], str, str, str]] = [
    ((), "Missing required parameter: 'file'.", "file", MISSING),
    ((PURPOSE,), "Missing required parameter: 'file'.", "file", MISSING),
    ((FILE,), "Missing required parameter: 'purpose'.", "purpose", MISSING),
    ((PURPOSE, FILE, FILE), "Duplicate parameter: 'file'. It may be given once.", "file", "invalid_value"),
    ((PURPOSE, FILE, text_field("user", "me")), "Unknown parameter: 'user'.", "user", "unknown_parameter"),
    (
        (PURPOSE, FILE, file_field("other", b"x" * 1000, "b.txt", None)),
        "Unknown parameter: 'other'.",
        "other",
        "unknown_parameter",
    ),
    (
        (PURPOSE, text_field("file", "a.txt")),
        "Invalid type for 'file': expected a file, but got a string instead.",
        "file",
        "invalid_type",
    ),
    (
        (text_field("purpose", "assistant"), FILE),
        "Invalid value: 'assistant'. Supported values are: 'assistants', 'batch', 'fine-tune', 'vision', 'user_data', "
        "and 'evals'.",
        "purpose",
        "invalid_value",
    ),
    (
        (text_field("purpose", "assistants_output"), FILE),
        "Invalid value: 'assistants_output'. Supported values are: 'assistants', 'batch', 'fine-tune', 'vision', "
        "'user_data', and 'evals'.",
        "purpose",
        "invalid_value",
    ),
    (
        (PURPOSE, FILE, text_field("expires_after[seconds]", "3600")),
        "Missing required parameter: 'expires_after.anchor'.",
        "expires_after.anchor",
        MISSING,
    ),
    (
        (PURPOSE, FILE, text_field("expires_after[anchor]", "created_at"), text_field("expires_after[seconds]", "1")),
        "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got 1 instead.",
        "expires_after.seconds",
        "integer_below_min_value",
    ),
    (
        (PURPOSE, FILE, text_field("expires_after[anchor]", "created_at"), text_field("expires_after[seconds]", "1e4")),
        "Invalid type for 'expires_after.seconds': expected an integer, but got a string instead.",
        "expires_after.seconds",
        "invalid_type",
    ),
    (
        (PURPOSE, FILE, text_field("expires_after", "soon")),
        "Invalid type for 'expires_after': expected an object, but got a string instead.",
        "expires_after",
        "invalid_type",
    ),
    (
        (PURPOSE, file_field("file", b"x", "x" * 256, None)),
        "Invalid 'file.filename': string too long. Expected a string with maximum length 255, but got a string with "
        "length 256 instead.",
        "file.filename",
        "string_above_max_length",
    ),
]


@pytest.mark.parametrize(("parts", "message", "param", "code"), FIELDS)
async def test_fields_that_are_not_right_are_refused(
    client: Client, parts: Sequence[bytes], message: str, param: str, code: str
) -> None:
    assert_refused(await send_form(client, "/v1/files", *parts), message, param=param, code=code)


@pytest.mark.parametrize("name", ["__proto__", "expires_after[]", "expires_after[a][b]", "[", "]", "", "\0", "é" * 100])
async def test_fields_of_any_name_do_no_harm(client: Client, name: str) -> None:
    answer = await send_form(client, "/v1/files", PURPOSE, FILE, text_field(name, "x"))
    assert answer.status == 400


# --- sizes


async def test_a_file_that_is_too_large_is_refused(client: Client) -> None:
    told = f"The file is larger than the {LARGEST} bytes that this server accepts."
    for size in (LARGEST + 1, LARGEST + 2 * FORM_OVERHEAD_BYTES_MAX):
        assert_refused(await send_file(client, b"x" * size), told, status=413, param="file")


async def test_a_body_without_a_length_is_measured_as_it_comes(server: RunningServer) -> None:
    body = form(PURPOSE, file_field("file", b"x" * (LARGEST + 1), "a", None))
    sent = request_bytes(
        "POST",
        "/v1/files",
        server.key,
        chunked([body]),
        content_length="",
        transfer_encoding="chunked",
        content_type=FORM["Content-Type"],
        connection="close",
    )
    status, received = await send_bytes(port_of(server), sent)
    assert status == 413
    assert b"is larger than" in received


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([text_field("a", "x" * (FORM_TEXT_BYTES_MAX + 1))], f"its fields have more than {FORM_TEXT_BYTES_MAX} bytes"),
        ([text_field(str(n), "x") for n in range(FORM_FIELDS_MAX + 1)], f"it has more than {FORM_FIELDS_MAX} fields"),
        ([part("X: " + "y" * 10_000, b"")], "what was sent was no valid form"),
        ([part("\r\n".join(f"X-{n}: y" for n in range(100)), b"")], "what was sent was no valid form"),
        ([part("Content-Disposition: form-data", b"x")], "a part of it has no name"),
        ([part("Content-Disposition: attachment; name=file", b"x")], "a part of it has no name"),
        ([part("Content-Type: text/plain", b"x")], "a part of it has no name"),
        ([part("no header", b"x")], "what was sent was no valid form"),
    ],
)
async def test_a_form_that_is_no_form_is_refused(client: Client, parts: list[bytes], reason: str) -> None:
    answer = await send_form(client, "/v1/files", *parts)
    assert answer.status == 400
    assert answer.error["message"].endswith(f"The API expects multipart/form-data, but {reason}.)")


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"\r\n\r\n", b"--", b"{}", form(PURPOSE, FILE)[:-4], PURPOSE + FILE, b"\r\n" * 1000, b"-" * 5000],
)
async def test_a_body_that_is_no_form_or_not_a_whole_one_is_refused(client: Client, body: bytes) -> None:
    answer = await client.request("POST", "/v1/files", raw=body, headers=FORM)
    assert answer.status == 400
    assert answer.error["message"].startswith("We could not parse the multipart form of your request.")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=x",
        "application/x-www-form-urlencoded",
        f"multipart/form-data; boundary={'x' * 5000}",
    ],
)
async def test_a_body_of_another_type_is_refused(client: Client, content_type: str) -> None:
    answer = await client.request("POST", "/v1/files", raw=form(PURPOSE, FILE), headers={"Content-Type": content_type})
    told = "Files are sent as multipart/form-data, with a boundary in the content type."
    assert_refused(answer, told, status=415)


# --- what is broken off


BODY = form(PURPOSE, file_field("file", bytes(range(256)), "a.bin", None), text_field("expires_after[seconds]", "3600"))
HEADERS: list[Mapping[str, str]] = [{}, {"content_length": "", "transfer_encoding": "chunked"}]


@pytest.mark.parametrize("headers", HEADERS)
async def test_an_upload_that_is_broken_off_at_any_byte_leaves_nothing(
    server: RunningServer, headers: Mapping[str, str]
) -> None:
    body = BODY if not headers else chunked([BODY[at : at + 50] for at in range(0, len(BODY), 50)])
    sent = request_bytes("POST", "/v1/files", server.key, body, content_type=FORM["Content-Type"], **headers)
    head = len(sent) - len(body)
    cuts = [*range(0, head, 20), *range(head, len(sent))]
    for first in range(0, len(cuts), 50):
        await asyncio.gather(*(send_and_leave(port_of(server), sent[:cut]) for cut in cuts[first : first + 50]))


async def test_a_part_that_is_broken_off_at_any_byte_leaves_nothing(server: RunningServer) -> None:
    given = {"filename": "a", "purpose": "assistants", "bytes": 100, "mime_type": "text/plain"}
    upload = await server.client.post("/v1/uploads", given)
    path = f"/v1/uploads/{upload['id']}"
    body = form(file_field("data", bytes(100), "blob", None))
    sent = request_bytes("POST", f"{path}/parts", server.key, body, content_type=FORM["Content-Type"])
    for cut in range(len(sent) - len(body), len(sent), 3):
        await send_and_leave(port_of(server), sent[:cut])
    assert (await server.client.post(f"{path}/cancel"))["status"] == "cancelled"


async def test_a_client_that_falls_silent_is_told_so_and_let_go_of(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_module, "BODY_SILENCE_SECONDS", 0.05)
    sent = request_bytes("POST", "/v1/files", server.key, BODY, content_type=FORM["Content-Type"])
    status, received = await send_bytes(port_of(server), sent[:-100])
    assert status == 408
    assert b"The rest of the request body has not come in time." in received
