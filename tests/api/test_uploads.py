"""Uploads over HTTP: parts in any order, and the file that they make. Contract section 6.2."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.answers import assert_not_found, assert_refused
from support.client import Answer, Client
from support.clock import Clock, clock_set
from support.files import file_field, new_file, send_form, text_field
from support.projects import client_of
from support.server import RunningServer, running_server
from understudy.core.limits import BLOB_PIECE_BYTES

PATH = "/v1/uploads"
NOWHERE = "upload_" + "0" * 24
MEBIBYTE = 1024 * 1024


@pytest.fixture
def client(shared: RunningServer) -> Client:
    return shared.client


def body(**fields: Any) -> dict[str, Any]:
    return {"filename": "a.txt", "purpose": "assistants", "bytes": 6, "mime_type": "text/plain", **fields}


async def begin(client: Client, **fields: Any) -> dict[str, Any]:
    upload: dict[str, Any] = await client.post(PATH, body(**fields))
    return upload


async def send_part(client: Client, upload: dict[str, Any], content: bytes) -> Answer:
    return await send_form(client, f"{PATH}/{upload['id']}/parts", file_field("data", content, "blob", None))


async def add_part(client: Client, upload: dict[str, Any], content: bytes) -> dict[str, Any]:
    answer = await send_part(client, upload, content)
    assert answer.status == 200, answer.body
    part: dict[str, Any] = answer.body
    return part


async def complete(client: Client, upload: dict[str, Any], *parts: dict[str, Any], **fields: Any) -> Answer:
    given = {"part_ids": [part["id"] for part in parts], **fields}
    return await client.request("POST", f"{PATH}/{upload['id']}/complete", given)


async def content_of(client: Client, completed: Answer) -> bytes:
    assert completed.status == 200, completed.body
    return (await client.download(f"/v1/files/{completed.body['file']['id']}/content")).content


# --- objects


async def test_a_new_upload_is_pending_for_an_hour(client: Client) -> None:
    upload = await begin(client)
    assert upload == {
        "id": upload["id"],
        "object": "upload",
        "bytes": 6,
        "created_at": upload["created_at"],
        "expires_at": upload["created_at"] + 3600,
        "filename": "a.txt",
        "purpose": "assistants",
        "status": "pending",
        "file": None,
    }
    assert upload["id"].startswith("upload_")


async def test_a_part_names_its_upload(client: Client) -> None:
    upload = await begin(client)
    part = await add_part(client, upload, b"abc")
    assert part == {
        "id": part["id"],
        "object": "upload.part",
        "created_at": part["created_at"],
        "upload_id": upload["id"],
    }
    assert part["id"].startswith("part_")


async def test_a_completed_upload_has_its_file(client: Client) -> None:
    upload = await begin(client, purpose="user_data")
    answer = await complete(client, upload, await add_part(client, upload, b"abcdef"))
    file = answer.body["file"]
    assert answer.body == {**upload, "status": "completed", "file": file}
    assert (file["object"], file["bytes"], file["filename"]) == ("file", 6, "a.txt")
    assert (file["purpose"], file["status"]) == ("user_data", "processed")
    assert await client.get(f"/v1/files/{file['id']}") == file
    assert "expires_at" not in file


async def test_the_file_expires_as_long_after_its_own_creation_as_the_upload_says(client: Client) -> None:
    upload = await begin(client, expires_after={"anchor": "created_at", "seconds": 7200})
    file = (await complete(client, upload, await add_part(client, upload, b"abcdef"))).body["file"]
    assert file["expires_at"] == file["created_at"] + 7200


# --- parts


async def test_parts_are_joined_in_the_order_that_the_client_names(client: Client) -> None:
    upload = await begin(client)
    last, first = await add_part(client, upload, b"def"), await add_part(client, upload, b"abc")
    assert await content_of(client, await complete(client, upload, first, last)) == b"abcdef"


async def test_parts_arrive_at_the_same_time(client: Client) -> None:
    pieces = [bytes([number]) * (BLOB_PIECE_BYTES // 4 + number) for number in range(9)]
    whole = b"".join(pieces)
    upload = await begin(client, bytes=len(whole))
    parts = await asyncio.gather(*(add_part(client, upload, piece) for piece in pieces))
    assert await content_of(client, await complete(client, upload, *parts)) == whole


async def test_a_part_that_is_not_named_is_left_out(client: Client) -> None:
    upload = await begin(client)
    await add_part(client, upload, b"lost!!")
    kept = await add_part(client, upload, b"abcdef")
    assert await content_of(client, await complete(client, upload, kept)) == b"abcdef"


async def test_an_upload_may_be_empty(client: Client) -> None:
    upload = await begin(client, bytes=0)
    assert await content_of(client, await complete(client, upload)) == b""


async def test_a_part_may_come_as_plain_text(client: Client) -> None:
    """As the service's own documentation sends one."""
    upload = await begin(client, bytes=6)
    answer = await send_form(client, f"{PATH}/{upload['id']}/parts", text_field("data", "abcdef"))
    assert await content_of(client, await complete(client, upload, answer.body)) == b"abcdef"


async def test_the_sum_may_be_said_along(client: Client) -> None:
    md5 = hashlib.md5(b"abcdef").hexdigest()
    for parts, given in (((b"abcdef",), md5), ((b"abc", b"def"), md5.upper())):
        upload = await begin(client)
        added = [await add_part(client, upload, part) for part in parts]
        assert await content_of(client, await complete(client, upload, *added, md5=given)) == b"abcdef"


# --- refusals of a completion: the upload stays as it was


async def still_completes(client: Client, upload: dict[str, Any], *parts: dict[str, Any]) -> None:
    assert await content_of(client, await complete(client, upload, *parts)) == b"abcdef"


async def test_parts_that_are_too_much_or_too_little_complete_nothing(client: Client) -> None:
    upload = await begin(client)
    first, last = await add_part(client, upload, b"abc"), await add_part(client, upload, b"def")
    for parts, got in (((), 0), ((first,), 3)):
        told = f"The parts have {got} bytes together, but the upload was created with 6 bytes."
        assert_refused(await complete(client, upload, *parts), told, param="part_ids")
    extra = await add_part(client, upload, b"g")
    told = "The parts have 7 bytes together, but the upload was created with 6 bytes."
    assert_refused(await complete(client, upload, first, last, extra), told, param="part_ids")
    await still_completes(client, upload, first, last)


async def test_a_part_counts_once(client: Client) -> None:
    upload = await begin(client)
    part = await add_part(client, upload, b"abc")
    assert_refused(
        await complete(client, upload, part, part),
        f"Invalid 'part_ids[1]': '{part['id']}' is given twice.",
        param="part_ids[1]",
        code="invalid_value",
    )
    await still_completes(client, upload, part, await add_part(client, upload, b"def"))


async def test_a_part_of_another_upload_is_none_of_this_one(shared: RunningServer, client: Client) -> None:
    upload = await begin(client)
    part = await add_part(client, upload, b"abcdef")
    stranger = await client_of(shared, "strangers")
    strangers = await add_part(stranger, await begin(stranger), b"abcdef")
    others = [await add_part(client, await begin(client), b"abcdef"), strangers, {"id": "nonsense"}]
    for other in others:
        told = f"No part found with id '{other['id']}' in upload '{upload['id']}'."
        assert_refused(await complete(client, upload, other), told, status=404)
    await still_completes(client, upload, part)


@pytest.mark.parametrize("parts", [(b"abcdef",), (b"abc", b"def")])
async def test_content_that_is_not_what_was_sent_completes_nothing(client: Client, parts: tuple[bytes, ...]) -> None:
    upload = await begin(client)
    added = [await add_part(client, upload, part) for part in parts]
    md5 = hashlib.md5(b"abcdef").hexdigest()
    assert_refused(
        await complete(client, upload, *added, md5="0" * 32),
        f"Invalid 'md5': the parts together have '{md5}'.",
        param="md5",
        code="invalid_value",
    )
    await still_completes(client, upload, *added)


# --- an upload that has ended


async def ended(client: Client, to: str) -> dict[str, Any]:
    upload = await begin(client)
    part = await add_part(client, upload, b"abcdef")
    if to == "completed":
        await complete(client, upload, part)
    else:
        cancelled = await client.post(f"{PATH}/{upload['id']}/cancel")
        assert cancelled == {**upload, "status": "cancelled"}
    return upload


async def refuses_everything(client: Client, upload: dict[str, Any], status: str) -> None:
    path = f"{PATH}/{upload['id']}"
    assert_refused(await client.request("POST", f"{path}/cancel"), f"Cannot cancel upload with status '{status}'.")
    assert_refused(await complete(client, upload), f"Cannot complete upload with status '{status}'.")
    assert_refused(await send_part(client, upload, b"x"), f"Cannot add a part to upload with status '{status}'.")


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_what_has_ended_stays_so(client: Client, status: str) -> None:
    await refuses_everything(client, await ended(client, status), status)


async def test_of_many_completions_at_once_one_makes_a_file(shared: RunningServer) -> None:
    client = await client_of(shared, "crowd")
    upload = await begin(client)
    parts = [await add_part(client, upload, piece) for piece in (b"abc", b"def")]
    answers = await asyncio.gather(*(complete(client, upload, *parts) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 7
    assert len((await client.get("/v1/files"))["data"]) == 1


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as clock:
        yield clock


@pytest.fixture
async def timed(clock: Clock, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose clock is set by hand."""
    async with running_server(None, tmp_path) as server:
        yield server


async def test_an_upload_expires_after_an_hour(timed: RunningServer, clock: Clock) -> None:
    in_time, late = await begin(timed.client), await begin(timed.client)
    clock.advance(3599)
    await still_completes(timed.client, in_time, await add_part(timed.client, in_time, b"abcdef"))
    clock.advance(1)
    await refuses_everything(timed.client, late, "expired")


# --- sizes


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """A server that takes little."""
    limits = {"upload_bytes_max": 4 * MEBIBYTE, "part_bytes_max": MEBIBYTE, "file_bytes_max": MEBIBYTE}
    async with running_server(None, tmp_path_factory.mktemp("small"), **limits) as server:
        yield server


async def test_an_upload_has_a_size_that_the_operator_sets(small: RunningServer) -> None:
    assert_refused(
        await small.client.request("POST", PATH, body(bytes=4 * MEBIBYTE + 1)),
        "Invalid 'bytes': integer above maximum value. Expected a value <= 4194304, but got 4194305 instead.",
        param="bytes",
        code="integer_above_max_value",
    )
    await begin(small.client, bytes=4 * MEBIBYTE)


async def test_a_part_has_a_size_unless_it_is_the_only_one(small: RunningServer) -> None:
    """The Python client's own helper sends files of almost any size as one part."""
    whole = bytes(2 * MEBIBYTE)
    upload = await begin(small.client, bytes=len(whole))
    told = "The part is larger than the 1048576 bytes that this server accepts of one that is not the whole upload."
    assert_refused(await send_part(small.client, upload, whole[1:]), told, status=413, param="data")
    told = f"The part is larger than the whole upload, which is to have {len(whole)} bytes."
    assert_refused(await send_part(small.client, upload, whole + b"x"), told, status=413, param="data")
    part = await add_part(small.client, upload, whole)
    assert await content_of(small.client, await complete(small.client, upload, part)) == whole


async def test_an_upload_holds_no_more_than_twice_what_it_can_need(client: Client) -> None:
    upload = await begin(client)
    for _ in range(2):
        part = await add_part(client, upload, b"abcdef")
    told = "The upload holds more parts, or more bytes in them, than it can need."
    assert_refused(await send_part(client, upload, b"a"), told)
    await still_completes(client, upload, part)


# --- what is not there, and what is not right


@pytest.mark.parametrize("action", ["parts", "complete", "cancel"])
async def test_an_upload_that_is_not_the_callers_does_not_exist(
    shared: RunningServer, client: Client, action: str
) -> None:
    others = await begin(await client_of(shared, "strangers"))
    for id_ in (NOWHERE, others["id"], "file-0"):
        path = f"{PATH}/{id_}/{action}"
        if action == "parts":
            answer = await send_form(client, path, file_field("data", b"x", "blob", None))
        else:
            answer = await client.request("POST", path, {"part_ids": []} if action == "complete" else None)
        assert_not_found(answer, "upload", id_)


async def test_a_part_without_content_is_refused(client: Client) -> None:
    path = f"{PATH}/{(await begin(client))['id']}/parts"
    assert_refused(
        await send_form(client, path),
        "Missing required parameter: 'data'.",
        param="data",
        code="missing_required_parameter",
    )
    data = file_field("data", b"x", "blob", None)
    assert_refused(
        await send_form(client, path, data, text_field("purpose", "assistants")),
        "Unknown parameter: 'purpose'.",
        param="purpose",
        code="unknown_parameter",
    )


@pytest.mark.parametrize(
    ("fields", "message", "param", "code"),
    [
        ({"filename": ""}, "Invalid 'filename': empty string.", "filename", "empty_string"),
        ({"filename": "x" * 256}, "Invalid 'filename': string too long.", "filename", "string_above_max_length"),
        ({"bytes": -1}, "Invalid 'bytes': integer below minimum value.", "bytes", "integer_below_min_value"),
        ({"bytes": "6"}, "Invalid type for 'bytes': expected an integer", "bytes", "invalid_type"),
        ({"purpose": "assistants_output"}, "Invalid value: 'assistants_output'.", "purpose", "invalid_value"),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 1}},
            "Invalid 'expires_after.seconds': integer below minimum value.",
            "expires_after.seconds",
            "integer_below_min_value",
        ),
        ({"name": "a"}, "Unknown parameter: 'name'.", "name", "unknown_parameter"),
    ],
)
async def test_an_upload_that_cannot_be_is_refused(
    client: Client, fields: dict[str, Any], message: str, param: str, code: str
) -> None:
    answer = await client.request("POST", PATH, body(**fields))
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code)
    assert answer.error["message"].startswith(message)


async def test_an_upload_and_a_file_are_listed_and_deleted_alike(shared: RunningServer) -> None:
    client = await client_of(shared, "alike")
    upload = await begin(client)
    made = (await complete(client, upload, await add_part(client, upload, b"abcdef"))).body["file"]
    file = await new_file(client)
    assert (await client.get("/v1/files"))["data"] == [file, made]
    await client.delete(f"/v1/files/{made['id']}")
    assert (await client.get("/v1/files"))["data"] == [file]
