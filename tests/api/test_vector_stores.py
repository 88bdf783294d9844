"""Vector stores over HTTP: what comes back, and what is refused. Contract section 6.3."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Client
from support.clock import Clock, clock_set
from support.http_shelf import Shelf, open_shelf, path_of
from support.projects import client_of
from understudy.core.vector_stores import DAY_SECONDS

NOWHERE = "vs_" + "0" * 24
WEEK = {"anchor": "last_active_at", "days": 7}


@pytest.fixture(scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shelf]:
    async with open_shelf(tmp_path_factory.mktemp("shelf")) as opened:
        yield opened


@pytest.fixture
def client(shelf: Shelf) -> Client:
    return shelf.client


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as set_:
        yield set_


def no_such(store_id: str) -> dict[str, Any]:
    return {
        "message": f"No vector store found with id '{store_id}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


# --- objects


async def test_an_empty_store_has_every_key_and_a_name_that_is_not_null(client: Client) -> None:
    for body in (None, {}, {"name": None, "expires_after": None, "file_ids": None}):
        store = await client.post("/v1/vector_stores", body)
        assert store == {
            "id": store["id"],
            "object": "vector_store",
            "created_at": store["created_at"],
            "name": "",
            "description": None,
            "usage_bytes": 0,
            "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0},
            "status": "completed",
            "expires_after": None,
            "expires_at": None,
            "last_active_at": store["created_at"],
            "metadata": {},
        }
        assert store["id"].startswith("vs_")
        assert await client.get(path_of(store)) == store


async def test_a_store_is_in_progress_until_its_files_are_indexed(shelf: Shelf) -> None:
    store = await shelf.store(*await shelf.files(2), name="N", description="D", metadata={"a": "b"})
    assert (store["name"], store["description"], store["metadata"]) == ("N", "D", {"a": "b"})
    assert (store["status"], store["file_counts"]["in_progress"], store["file_counts"]["total"]) == (
        "in_progress",
        2,
        2,
    )
    await shelf.index("12345")
    found = await shelf.client.get(path_of(store))
    assert (found["status"], found["file_counts"]["completed"], found["usage_bytes"]) == ("completed", 2, 10)


async def test_the_policy_says_when_a_store_expires(shelf: Shelf) -> None:
    store = await shelf.store(expires_after=WEEK)
    assert store["expires_after"] == WEEK
    assert store["expires_at"] == store["last_active_at"] + 7 * DAY_SECONDS


async def test_an_update_changes_what_is_sent_and_null_takes_away(shelf: Shelf) -> None:
    store = await shelf.store(name="Old", expires_after=WEEK, metadata={"a": "1"})
    path = path_of(store)
    assert await shelf.client.post(path) == store
    changed = await shelf.client.post(path, {"name": "New", "metadata": {"b": "2"}})
    assert changed == {**store, "name": "New", "metadata": {"b": "2"}}
    assert (await shelf.client.post(path, {"metadata": None}))["metadata"] == {"b": "2"}
    longer = await shelf.client.post(path, {"expires_after": {"anchor": "last_active_at", "days": 8}})
    assert longer["expires_at"] == store["last_active_at"] + 8 * DAY_SECONDS
    bare = await shelf.client.post(path, {"expires_after": None, "name": None})
    assert (bare["expires_after"], bare["expires_at"], bare["name"]) == (None, None, "")
    assert await shelf.client.get(path) == bare


async def test_a_deleted_store_is_gone_and_its_files_stay(shelf: Shelf) -> None:
    file_id = await shelf.file()
    store = await shelf.store(file_id)
    assert await shelf.client.delete(path_of(store)) == {
        "id": store["id"],
        "object": "vector_store.deleted",
        "deleted": True,
    }
    for method in ("GET", "POST", "DELETE"):
        answer = await shelf.client.request(method, path_of(store), {} if method == "POST" else None)
        assert (answer.status, answer.error) == (404, no_such(store["id"]))
    assert (await shelf.client.get(f"/v1/files/{file_id}"))["id"] == file_id


async def test_stores_are_listed_newest_first_and_in_pages(shelf: Shelf) -> None:
    made = [(await shelf.store(name=str(number)))["id"] for number in range(3)]
    page = await shelf.client.get("/v1/vector_stores", limit=2)
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    assert (page["first_id"], page["last_id"]) == (made[2], made[1])
    page = await shelf.client.get("/v1/vector_stores", limit=1, after=made[1])
    assert [one["id"] for one in page["data"]] == [made[0]]
    page = await shelf.client.get("/v1/vector_stores", limit=2, order="asc", after=made[0])
    assert [one["id"] for one in page["data"]] == made[1:]
    answer = await shelf.client.request("GET", "/v1/vector_stores", params={"after": NOWHERE})
    assert (answer.status, answer.error) == (400, {**no_such(NOWHERE), "param": "after"})


# --- refusals


async def test_other_projects_see_nothing_of_it(shelf: Shelf) -> None:
    file_id = await shelf.file()
    store = await shelf.store(file_id)
    stranger = await client_of(shelf.server, "proj_other")
    path = path_of(store)
    for method, where, body in (
        ("GET", path, None),
        ("POST", path, {}),
        ("DELETE", path, None),
        ("POST", f"{path}/search", {"query": "x"}),
        ("GET", f"{path}/files", None),
        ("POST", f"{path}/files", {"file_id": file_id}),
        ("GET", f"{path}/files/{file_id}", None),
        ("POST", f"{path}/files/{file_id}", {"attributes": {}}),
        ("DELETE", f"{path}/files/{file_id}", None),
        ("GET", f"{path}/files/{file_id}/content", None),
        ("POST", f"{path}/file_batches", {"file_ids": [file_id]}),
        ("GET", f"{path}/file_batches/vsfb_x", None),
        ("POST", f"{path}/file_batches/vsfb_x/cancel", None),
        ("GET", f"{path}/file_batches/vsfb_x/files", None),
    ):
        answer = await stranger.request(method, where, body)
        assert (answer.status, answer.error) == (404, no_such(store["id"])), (method, where)
    assert (await stranger.get("/v1/vector_stores"))["data"] == []
    answer = await stranger.request("POST", "/v1/vector_stores", {"file_ids": [file_id]})
    assert (answer.status, answer.error["message"]) == (404, f"No such File object: {file_id}")
    for body in (
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}}},
        {"tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}}},
    ):
        answer = await stranger.request("POST", "/v1/assistants" if "model" in body else "/v1/threads", body)
        assert (answer.status, answer.error) == (404, no_such(store["id"]))


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"name": 1}, "name", "invalid_type"),
        ({"file_ids": ["file-x"] * 501}, "file_ids", "array_above_max_length"),
        ({"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor", "invalid_value"),
        ({"expires_after": {"anchor": "last_active_at", "days": 366}}, "expires_after.days", "integer_above_max_value"),
        ({"expires_after": {"anchor": "last_active_at"}}, "expires_after.days", "missing_required_parameter"),
        ({"chunking_strategy": {"type": "other"}}, "chunking_strategy.type", "invalid_value"),
        ({"chunking_strategy": {"type": "static"}}, "chunking_strategy.static", "missing_required_parameter"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"bytes": 1}, "bytes", "unknown_parameter"),
    ],
)
async def test_what_is_not_as_described_is_refused(client: Client, body: Any, param: str, code: str) -> None:
    answer = await client.request("POST", "/v1/vector_stores", body)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code)


async def test_chunks_may_overlap_by_half_at_most(client: Client) -> None:
    static = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 401}
    answer = await client.request(
        "POST", "/v1/vector_stores", {"chunking_strategy": {"type": "static", "static": static}}
    )
    assert (answer.status, answer.error) == (
        400,
        {
            "message": "Invalid 'chunking_strategy.static.chunk_overlap_tokens': integer above maximum value. "
            "Expected a value <= 400, but got 401 instead.",
            "type": "invalid_request_error",
            "param": "chunking_strategy.static.chunk_overlap_tokens",
            "code": "integer_above_max_value",
        },
    )


async def test_a_store_with_an_unknown_file_is_not_made(client: Client) -> None:
    before = (await client.get("/v1/vector_stores", limit=1))["first_id"]
    answer = await client.request("POST", "/v1/vector_stores", {"file_ids": ["file-nobody"]})
    assert (answer.status, answer.error["message"]) == (404, "No such File object: file-nobody")
    assert (await client.get("/v1/vector_stores", limit=1))["first_id"] == before


async def test_an_id_that_cannot_be_a_stores_is_called_invalid(client: Client) -> None:
    answer = await client.request("GET", "/v1/vector_stores/foo")
    assert answer.error["message"] == "Invalid 'vector_store_id': 'foo'. Expected an ID that begins with 'vs'."
    answer = await client.request("GET", "/v1/vector_stores/thread_1")
    assert (answer.status, answer.error) == (404, no_such("thread_1"))


# --- expiry


async def test_an_expired_store_can_be_read_and_deleted_and_nothing_else(clock: Clock, tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        file_id = await shelf.file()
        store = await shelf.store(file_id, expires_after=WEEK)
        path = path_of(store)
        clock.advance(7 * DAY_SECONDS)
        for where, body in (
            (f"{path}/files", {"file_id": file_id}),
            (f"{path}/file_batches", {"file_ids": [file_id]}),
            (f"{path}/search", {"query": "x"}),
        ):
            answer = await shelf.client.request("POST", where, body)
            assert (answer.status, answer.error) == (
                400,
                {
                    "message": f"Vector store {store['id']} is expired.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                },
            )
        await shelf.rows.expire_vector_stores(int(clock()), limit=10)
        assert (await shelf.client.get(path))["status"] == "expired"
        assert (await shelf.client.get("/v1/vector_stores"))["data"][0]["status"] == "expired"
        assert len((await shelf.client.get(f"{path}/files"))["data"]) == 1
        assert (await shelf.client.delete(path))["deleted"] is True


async def test_a_search_puts_off_the_expiry(clock: Clock, tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        store = await shelf.store(expires_after=WEEK)
        clock.advance(5 * DAY_SECONDS)
        await shelf.client.post(f"{path_of(store)}/search", {"query": "x"})
        found = await shelf.client.get(path_of(store))
        assert found["last_active_at"] == store["created_at"] + 5 * DAY_SECONDS
        assert found["expires_at"] == store["created_at"] + 12 * DAY_SECONDS


async def test_only_listed_files_are_taken_where_the_operator_wants_it(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, search_file_types="listed") as shelf:
        good, table, image = await shelf.file("a.md"), await shelf.file("b.CSV"), await shelf.file("c.png")
        store = await shelf.store(good)
        for where, body in (
            ("/v1/vector_stores", {"file_ids": [good, table, image]}),
            (f"{path_of(store)}/file_batches", {"file_ids": [table, image]}),
        ):
            answer = await shelf.client.request("POST", where, body)
            assert (answer.status, answer.error) == (
                400,
                {
                    "message": "Files with extensions [.csv, .png] are not supported for retrieval. "
                    "See https://platform.openai.com/docs/assistants/tools/file-search/supported-files",
                    "type": "invalid_request_error",
                    "param": "file_ids",
                    "code": "unsupported_file",
                },
            )
        answer = await shelf.client.request("POST", f"{path_of(store)}/files", {"file_id": table})
        assert answer.error["code"] == "unsupported_file"


async def test_by_default_any_file_is_taken(shelf: Shelf) -> None:
    names = ("a.csv", "b.xlsx", "c.xml", "d.png", "README")
    store = await shelf.store(*[await shelf.file(name) for name in names])
    assert store["file_counts"]["total"] == len(names)


async def test_racing_updates_are_all_applied(shelf: Shelf) -> None:
    store = await shelf.store(*await shelf.files(1))
    bodies = [{"name": f"n{number}"} for number in range(10)]
    shown = await asyncio.gather(*(shelf.client.post(path_of(store), body) for body in bodies))
    assert {one["name"] for one in shown} == {body["name"] for body in bodies}
