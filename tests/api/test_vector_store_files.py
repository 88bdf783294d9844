"""The files of vector stores over HTTP. Contract section 6.3."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.client import Client
from support.http_shelf import Shelf, open_shelf, path_of

AUTO = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}


@pytest.fixture(scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shelf]:
    async with open_shelf(tmp_path_factory.mktemp("shelf")) as opened:
        yield opened


@pytest.fixture
def client(shelf: Shelf) -> Client:
    return shelf.client


def not_in_store(file_id: str, store: Any) -> dict[str, Any]:
    return {
        "message": f"No file found with id '{file_id}' in vector store '{store['id']}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_an_attached_file_has_every_key_and_tells_pollers_when_to_ask(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.file()
    answer = await shelf.client.request("POST", f"{path_of(store)}/files", {"file_id": file_id})
    assert answer.body == {
        "id": file_id,
        "object": "vector_store.file",
        "usage_bytes": 0,
        "created_at": answer.body["created_at"],
        "vector_store_id": store["id"],
        "status": "in_progress",
        "last_error": None,
        "chunking_strategy": AUTO,
        "attributes": {},
    }
    assert int(answer.headers["openai-poll-after-ms"]) > 0
    path = f"{path_of(store)}/files/{file_id}"
    waiting = await shelf.client.request("GET", path)
    assert (waiting.body, "openai-poll-after-ms" in waiting.headers) == (answer.body, True)
    await shelf.index("12345", "678")
    done = await shelf.client.request("GET", path)
    assert done.body == {**answer.body, "status": "completed", "usage_bytes": 8}
    assert "openai-poll-after-ms" not in done.headers


async def test_a_file_that_could_not_be_indexed_says_why(shelf: Shelf) -> None:
    store = await shelf.store(await shelf.file())
    await shelf.fail("invalid_file", "The file could not be parsed because it is empty.")
    (file,) = (await shelf.client.get(f"{path_of(store)}/files"))["data"]
    assert file["status"] == "failed"
    assert file["last_error"] == {
        "code": "invalid_file",
        "message": "The file could not be parsed because it is empty.",
    }
    assert (await shelf.client.get(path_of(store)))["file_counts"]["failed"] == 1


async def test_a_static_strategy_is_kept_and_auto_is_resolved(shelf: Shelf) -> None:
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    file_id = await shelf.file()
    store = await shelf.store(file_id, chunking_strategy=static)
    file = await shelf.client.get(f"{path_of(store)}/files/{file_id}")
    assert file["chunking_strategy"] == static
    again = await shelf.attach(store, file_id, chunking_strategy={"type": "auto"})
    assert again["chunking_strategy"] == AUTO


async def test_attributes_come_back_as_they_were_sent(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.file()
    attributes = {"text": "é", "whole": 3, "real": 3.0, "large": 10**15, "yes": True, "small": 0.1}
    file = await shelf.attach(store, file_id, attributes=attributes)
    assert repr(file["attributes"]) == repr(attributes)
    path = f"{path_of(store)}/files/{file_id}"
    changed = await shelf.client.post(path, {"attributes": {"only": 1}})
    assert changed["attributes"] == {"only": 1}
    assert (await shelf.client.post(path, {"attributes": None}))["attributes"] == {}
    assert (await shelf.client.get(path))["attributes"] == {}


@pytest.mark.parametrize(
    ("attributes", "param", "code"),
    [
        ({"a": None}, "attributes.a", "invalid_type"),
        ({"a": [1]}, "attributes.a", "invalid_type"),
        ({"a": "x" * 513}, "attributes.a", "string_above_max_length"),
        ({"k" * 65: 1}, f"attributes.{'k' * 65}", "property_name_above_max_length"),
        ({str(number): number for number in range(17)}, "attributes", "object_above_max_properties"),
        ([1], "attributes", "invalid_type"),
    ],
)
async def test_other_attributes_are_refused(shelf: Shelf, attributes: Any, param: str, code: str) -> None:
    store, file_id = await shelf.store(), await shelf.file()
    body = {"file_id": file_id, "attributes": attributes}
    answer = await shelf.client.request("POST", f"{path_of(store)}/files", body)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code)
    answer = await shelf.client.request("GET", f"{path_of(store)}/files/{file_id}")
    assert (answer.status, answer.error) == (404, not_in_store(file_id, store))


async def test_files_are_listed_by_status_and_in_pages(shelf: Shelf) -> None:
    file_ids = list(await shelf.files(3))
    store = await shelf.store(*file_ids[:2])
    await shelf.index("x")
    await shelf.attach(store, file_ids[2])
    path = f"{path_of(store)}/files"
    page = await shelf.client.get(path)
    assert [one["id"] for one in page["data"]] == file_ids[::-1]
    page = await shelf.client.get(path, filter="completed", order="asc", limit=1)
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (file_ids[:1], True)
    page = await shelf.client.get(path, filter="in_progress")
    assert [one["id"] for one in page["data"]] == file_ids[2:]
    assert (await shelf.client.get(path, filter="failed"))["data"] == []
    answer = await shelf.client.request("GET", path, params={"filter": "done"})
    assert (answer.status, answer.error["param"]) == (400, "filter")
    answer = await shelf.client.request("GET", path, params={"after": "file-nobody"})
    assert (answer.status, answer.error["param"]) == (400, "after")


async def test_a_detached_file_leaves_the_store_and_stays_a_file(shelf: Shelf) -> None:
    file_id = await shelf.file()
    store = await shelf.store(file_id)
    path = f"{path_of(store)}/files/{file_id}"
    assert await shelf.client.delete(path) == {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}
    for method, where, body in (
        ("GET", path, None),
        ("POST", path, {"attributes": {}}),
        ("DELETE", path, None),
        ("GET", f"{path}/content", None),
    ):
        answer = await shelf.client.request(method, where, body)
        assert (answer.status, answer.error) == (404, not_in_store(file_id, store))
    assert (await shelf.client.get(f"/v1/files/{file_id}"))["id"] == file_id
    assert (await shelf.client.get(path_of(store)))["file_counts"]["total"] == 0


async def test_a_deleted_file_leaves_every_store(shelf: Shelf) -> None:
    file_id = await shelf.file()
    stores = [await shelf.store(file_id) for _ in range(2)]
    await shelf.index("x")
    await shelf.client.delete(f"/v1/files/{file_id}")
    for store in stores:
        assert (await shelf.client.get(path_of(store)))["file_counts"]["total"] == 0
        assert (await shelf.client.post(f"{path_of(store)}/search", {"query": "x"}))["data"] == []


async def test_the_content_is_what_was_read_of_the_file(shelf: Shelf) -> None:
    file_id = await shelf.file()
    store = await shelf.store(file_id)
    path = f"{path_of(store)}/files/{file_id}/content"
    empty = {"object": "vector_store.file_content.page", "data": [], "has_more": False, "next_page": None}
    assert await shelf.client.get(path) == empty
    await shelf.index("first", "second")
    texts = [{"type": "text", "text": "first"}, {"type": "text", "text": "second"}]
    assert await shelf.client.get(path) == {**empty, "data": texts}


async def test_attaching_again_indexes_again_and_the_older_passages_answer_meanwhile(shelf: Shelf) -> None:
    file_id = await shelf.file()
    store = await shelf.store(file_id)
    await shelf.index("zebra")
    again = await shelf.attach(store, file_id, attributes={"n": 2})
    assert again["status"] == "in_progress"
    found = await shelf.client.post(f"{path_of(store)}/search", {"query": "zebra"})
    assert [(one["content"][0]["text"], one["attributes"]) for one in found["data"]] == [("zebra", {"n": 2})]
    await shelf.index("zebra anew")
    found = await shelf.client.post(f"{path_of(store)}/search", {"query": "zebra"})
    assert [one["content"][0]["text"] for one in found["data"]] == ["zebra anew"]


async def test_racing_attaches_leave_one_file(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.file()
    made = await asyncio.gather(*(shelf.attach(store, file_id, attributes={"n": n}) for n in range(10)))
    assert {one["id"] for one in made} == {file_id}
    (file,) = (await shelf.client.get(f"{path_of(store)}/files"))["data"]
    assert file["attributes"] in [one["attributes"] for one in made]
    assert (await shelf.client.get(path_of(store)))["file_counts"]["total"] == 1


async def test_an_unknown_file_is_not_attached(shelf: Shelf) -> None:
    store = await shelf.store()
    answer = await shelf.client.request("POST", f"{path_of(store)}/files", {"file_id": "file-nobody"})
    assert (answer.status, answer.error["message"], answer.error["param"]) == (
        404,
        "No such File object: file-nobody",
        "id",
    )
    answer = await shelf.client.request("POST", f"{path_of(store)}/files", {})
    assert answer.error["message"] == "Missing required parameter: 'file_id'."
