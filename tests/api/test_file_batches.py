"""Batches of files over HTTP. Contract section 6.3."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.http_shelf import Shelf, open_shelf, path_of
from understudy.core.ids import ProjectId
from understudy.ports import StoredFile
from understudy.store.files import insert_file
from understudy.store.operations import Op
from understudy.wire.files import File

SMALL = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}}


@pytest.fixture(scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shelf]:
    async with open_shelf(tmp_path_factory.mktemp("shelf")) as opened:
        yield opened


def counts(**given: int) -> dict[str, int]:
    return {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, **given, "total": sum(given.values())}


async def begun(shelf: Shelf, store: Any, *file_ids: str, **body: Any) -> Any:
    return await shelf.client.post(f"{path_of(store)}/file_batches", {"file_ids": list(file_ids), **body})


async def test_a_batch_has_every_key_and_tells_pollers_when_to_ask(shelf: Shelf) -> None:
    store = await shelf.store()
    body = {"file_ids": list(await shelf.files(2))}
    answer = await shelf.client.request("POST", f"{path_of(store)}/file_batches", body)
    batch = answer.body
    assert batch == {
        "id": batch["id"],
        "object": "vector_store.files_batch",
        "created_at": batch["created_at"],
        "vector_store_id": store["id"],
        "status": "in_progress",
        "file_counts": counts(in_progress=2),
    }
    assert batch["id"].startswith("vsfb_")
    assert int(answer.headers["openai-poll-after-ms"]) > 0
    await shelf.index("x")
    path = f"{path_of(store)}/file_batches/{batch['id']}"
    answer = await shelf.client.request("GET", path)
    assert answer.body == {**batch, "status": "completed", "file_counts": counts(completed=2)}
    assert "openai-poll-after-ms" not in answer.headers


async def test_what_is_said_of_all_files_holds_for_each(shelf: Shelf) -> None:
    store, file_ids = await shelf.store(), await shelf.files(2)
    await begun(shelf, store, *file_ids, chunking_strategy=SMALL, attributes={"a": 1.0})
    for file_id in file_ids:
        file = await shelf.client.get(f"{path_of(store)}/files/{file_id}")
        assert (file["chunking_strategy"], repr(file["attributes"])) == (SMALL, "{'a': 1.0}")


async def test_files_that_are_described_one_by_one_say_all_themselves(shelf: Shelf) -> None:
    store, (first, second) = await shelf.store(), await shelf.files(2)
    files = [{"file_id": first, "attributes": {"n": 1}, "chunking_strategy": SMALL}, {"file_id": second}]
    body = {"files": files, "attributes": {"n": 2}}
    await shelf.client.post(f"{path_of(store)}/file_batches", body)
    one = await shelf.client.get(f"{path_of(store)}/files/{first}")
    other = await shelf.client.get(f"{path_of(store)}/files/{second}")
    assert (one["attributes"], one["chunking_strategy"]) == ({"n": 1}, SMALL)
    assert (other["attributes"], other["chunking_strategy"]["static"]["max_chunk_size_tokens"]) == ({}, 800)


async def test_exactly_one_list_of_files_is_needed(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.file()
    path = f"{path_of(store)}/file_batches"
    answer = await shelf.client.request("POST", path, {"file_ids": [file_id], "files": [{"file_id": file_id}]})
    assert (answer.status, answer.error["code"]) == (400, "mutually_exclusive_parameters")
    answer = await shelf.client.request("POST", path, {})
    assert answer.error["message"] == "Missing required parameter: 'file_ids'."


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"file_ids": []}, "file_ids", "empty_array"),
        ({"file_ids": ["file-x"] * 2001}, "file_ids", "array_above_max_length"),
        ({"files": [{"file_id": "file-x"}] * 2001}, "files", "array_above_max_length"),
        ({"files": [{}]}, "files[0].file_id", "missing_required_parameter"),
        ({"files": [{"file_id": "f", "attributes": {"a": {}}}]}, "files[0].attributes.a", "invalid_type"),
        (
            {
                "files": [
                    {
                        "file_id": "f",
                        "chunking_strategy": {
                            "type": "static",
                            "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51},
                        },
                    }
                ]
            },
            "files[0].chunking_strategy.static.chunk_overlap_tokens",
            "integer_above_max_value",
        ),
    ],
)
async def test_what_is_not_as_described_is_refused(shelf: Shelf, body: Any, param: str, code: str) -> None:
    store = await shelf.store()
    answer = await shelf.client.request("POST", f"{path_of(store)}/file_batches", body)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code)


async def test_a_batch_with_an_unknown_file_attaches_none(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.file()
    body = {"file_ids": [file_id, "file-nobody"]}
    answer = await shelf.client.request("POST", f"{path_of(store)}/file_batches", body)
    assert (answer.status, answer.error["message"]) == (404, "No such File object: file-nobody")
    assert (await shelf.client.get(path_of(store)))["file_counts"]["total"] == 0


async def test_two_thousand_files_come_in_one_batch(shelf: Shelf) -> None:
    files = [
        File(id=f"file-many{number}", bytes=1, created_at=1, filename="a.txt", purpose="assistants")
        for number in range(2000)
    ]
    project = (await shelf.rows.keys())[0].project if await shelf.rows.keys() else ProjectId("default")

    def add() -> Op[None]:
        for file in files:
            yield from insert_file(project, StoredFile(file=file, blob=file.id))

    await shelf.rows._write(add)
    store = await shelf.store()
    batch = await begun(shelf, store, *(file.id for file in files))
    assert batch["file_counts"] == counts(in_progress=2000)
    cancelled = await shelf.client.post(f"{path_of(store)}/file_batches/{batch['id']}/cancel")
    assert (cancelled["status"], cancelled["file_counts"]) == ("cancelled", counts(cancelled=2000))


async def test_cancelling_leaves_what_is_indexed(shelf: Shelf) -> None:
    store, file_ids = await shelf.store(), list(await shelf.files(3))
    batch = await begun(shelf, store, *file_ids)
    job = next(job for job in await shelf.claim() if job.stored.file.id == file_ids[0])
    await shelf.rows.finish_ingest("shelf", job.generation, chunks=0, usage_bytes=0)
    path = f"{path_of(store)}/file_batches/{batch['id']}"
    cancelled = await shelf.client.post(f"{path}/cancel")
    assert (cancelled["status"], cancelled["file_counts"]) == ("cancelled", counts(completed=1, cancelled=2))
    assert await shelf.client.post(f"{path}/cancel") == cancelled == await shelf.client.get(path)
    page = await shelf.client.get(f"{path}/files", filter="cancelled", order="asc")
    assert [one["id"] for one in page["data"]] == file_ids[1:]


async def test_cancelling_what_has_ended_answers_with_the_batch(shelf: Shelf) -> None:
    store = await shelf.store()
    batch = await begun(shelf, store, await shelf.file())
    await shelf.index("x")
    path = f"{path_of(store)}/file_batches/{batch['id']}"
    assert await shelf.client.post(f"{path}/cancel") == {
        **batch,
        "status": "completed",
        "file_counts": counts(completed=1),
    }


async def test_a_batch_lists_its_own_files_in_pages(shelf: Shelf) -> None:
    file_ids = list(await shelf.files(4))
    store = await shelf.store(file_ids[0])
    batch = await begun(shelf, store, *file_ids[1:])
    path = f"{path_of(store)}/file_batches/{batch['id']}/files"
    page = await shelf.client.get(path, limit=2)
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([file_ids[3], file_ids[2]], True)
    page = await shelf.client.get(path, after=file_ids[2])
    assert [one["id"] for one in page["data"]] == [file_ids[1]]
    answer = await shelf.client.request("GET", path, params={"after": file_ids[0]})
    assert (answer.status, answer.error["param"]) == (400, "after")


async def test_an_unknown_batch_is_named(shelf: Shelf) -> None:
    store, other = await shelf.store(), await shelf.store()
    batch = await begun(shelf, other, await shelf.file())
    for method, end in (("GET", ""), ("POST", "/cancel"), ("GET", "/files")):
        answer = await shelf.client.request(method, f"{path_of(store)}/file_batches/{batch['id']}{end}")
        assert (answer.status, answer.error["message"]) == (404, f"No file batch found with id '{batch['id']}'.")
