"""What every store does with files, uploads, and the keys of content that no row names."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.store import (
    ENGINES,
    NOON,
    OTHER,
    PROJECT,
    add_file,
    assistant,
    open_engine,
    refusal,
    stored_file,
    stored_part,
    thread,
    upload,
    with_files,
)
from understudy.core.limits import UPLOAD_KEEP_SECONDS
from understudy.ports import (
    BlobExpired,
    Missing,
    PageQuery,
    Rows,
    Store,
    StoredPart,
    StoredUpload,
    UploadEnded,
    UploadFull,
)
from understudy.store.codec import decode_thread
from understudy.wire.files import StoredPurpose
from understudy.wire.threads import Thread
from understudy.wire.tools import ToolResources
from understudy.wire.uploads import UploadStatus

MANY = PageQuery(limit=100, descending=False)
LATER = NOON + 10_000


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def page(store: Store, *, purpose: StoredPurpose | None = None, now: int = NOON, **query: object) -> Rows:
    return await store.files_page(PROJECT, replace(MANY, **query), purpose=purpose, now=now)


# --- files


async def test_a_file_comes_back_as_it_was_given(store: Store) -> None:
    stored = stored_file(filename="é\u2028\0", expires_at=NOON + 3600)
    await store.expect_blob(stored.blob, until=NOON)
    await store.add_file(PROJECT, stored)
    assert await store.file(PROJECT, stored.file.id, NOON) == stored


async def test_another_projects_file_does_not_exist(store: Store) -> None:
    file_id = await add_file(store, OTHER)
    assert await store.file(PROJECT, file_id, NOON) is None
    assert await store.missing_files(PROJECT, [file_id], NOON) == [file_id]
    assert not await store.delete_file(PROJECT, file_id)
    assert (await page(store)).ids == []
    assert (await refusal(Missing, page(store, after=file_id))).id == file_id
    assert await store.file(OTHER, file_id, NOON) is not None


async def test_an_expired_file_does_not_exist(store: Store) -> None:
    file_id = await add_file(store, expires_at=NOON + 3600)
    assert (await page(store, now=NOON + 3599)).ids == [file_id]
    assert await store.file(PROJECT, file_id, NOON + 3599) is not None
    assert await store.file(PROJECT, file_id, NOON + 3600) is None
    assert await store.missing_files(PROJECT, [file_id], NOON + 3600) == [file_id]
    assert (await page(store, now=NOON + 3600)).ids == []


async def test_of_many_ids_the_missing_ones_are_told_in_their_order(store: Store) -> None:
    ids = [await add_file(store) for _ in range(5)]
    strangers = [f"file-{number}" for number in range(600)]
    assert await store.missing_files(PROJECT, [*strangers, *ids, *strangers], NOON) == strangers
    assert await store.missing_files(PROJECT, [], NOON) == []


async def test_files_are_listed_in_the_order_of_their_creation(store: Store) -> None:
    ids = [await add_file(store) for _ in range(5)]
    assert (await page(store)).ids == ids
    assert (await page(store, descending=True)).ids == ids[::-1]
    first = await page(store, limit=2)
    assert (first.ids, first.has_more) == (ids[:2], True)
    rest = await page(store, after=ids[1])
    assert (rest.ids, rest.has_more) == (ids[2:], False)
    assert (await page(store, before=ids[4], limit=2)).ids == ids[2:4]


async def test_files_are_listed_by_purpose(store: Store) -> None:
    vision = [await add_file(store, purpose="vision") for _ in range(2)]
    await add_file(store)
    assert (await page(store, purpose="vision")).ids == vision
    assert (await page(store, purpose="evals")).ids == []


async def test_a_deleted_file_leaves_the_lists_of_assistants_and_threads(store: Store) -> None:
    gone, kept = await add_file(store), await add_file(store)
    hired = assistant(tool_resources=with_files(gone, kept))
    await store.add_assistant(PROJECT, hired)
    talked = thread(tool_resources=with_files(kept))
    await store.add_thread(PROJECT, talked, ())
    await store.update_thread(PROJECT, talked.id, using(gone))
    assert await store.delete_file(PROJECT, gone)
    found = await store.assistant(PROJECT, hired.assistant.id)
    assert found is not None
    assert found == replace(hired, assistant=replace(hired.assistant, tool_resources=with_files(kept)))
    body = await store.body("thread", PROJECT, None, talked.id)
    assert body is not None
    assert decode_thread(body).tool_resources == with_files()


def using(*file_ids: str) -> Callable[[Thread], Thread]:
    return lambda before: replace(before, tool_resources=with_files(*file_ids))


async def test_what_left_a_list_or_was_deleted_is_not_changed_by_a_files_end(store: Store) -> None:
    file_id = await add_file(store)
    hired, fired = (assistant(tool_resources=with_files(file_id)) for _ in range(2))
    for one in (hired, fired):
        await store.add_assistant(PROJECT, one)
    unused = replace(hired, assistant=replace(hired.assistant, tool_resources=ToolResources()))
    await store.update_assistant(PROJECT, hired.assistant.id, lambda _: unused)
    await store.delete_assistant(PROJECT, fired.assistant.id)
    ended = thread(tool_resources=with_files(file_id))
    await store.add_thread(PROJECT, ended, ())
    await store.delete_thread(PROJECT, ended.id)
    assert await store.delete_file(PROJECT, file_id)
    assert await store.assistant(PROJECT, hired.assistant.id) == unused
    assert await store.assistant(PROJECT, fired.assistant.id) is None
    assert not await store.thread_exists(PROJECT, ended.id)


async def test_a_list_takes_no_file_that_was_deleted_meanwhile_or_is_another_projects(store: Store) -> None:
    """Whoever checked the id before may have been overtaken."""
    mine, others = await add_file(store), await add_file(store, OTHER)
    hired, talked = assistant(tool_resources=with_files(mine)), thread()
    await store.add_assistant(PROJECT, hired)
    await store.add_thread(PROJECT, talked, ())
    for stranger in (others, "file-nobody"):
        resources = with_files(mine, stranger)
        refused = [
            store.add_assistant(PROJECT, assistant(tool_resources=resources)),
            store.add_thread(PROJECT, thread(tool_resources=resources), ()),
            store.update_thread(PROJECT, talked.id, using(mine, stranger)),
            store.update_assistant(PROJECT, hired.assistant.id, lambda _, to=resources: assistant(tool_resources=to)),
        ]
        for awaited in refused:
            missing = await refusal(Missing, awaited)
            assert (missing.kind, missing.id) == ("file", stranger)
    assert await store.assistant(PROJECT, hired.assistant.id) == hired


async def test_a_file_that_has_expired_stays_where_it_was_listed_until_it_is_swept(store: Store) -> None:
    file_id = await add_file(store, expires_at=NOON + 3600)
    talked = thread(tool_resources=with_files(file_id))
    await store.add_thread(PROJECT, talked, ())

    def relabel(before: Thread) -> Thread:
        return replace(before, metadata={"a": "1"})

    assert await store.update_thread(PROJECT, talked.id, relabel) == relabel(talked)
    assert await store.expire_files(LATER, limit=10) == 1
    found = await store.update_thread(PROJECT, talked.id, lambda before: before)
    assert found.tool_resources == with_files()


# --- content that no row names


async def test_content_that_no_row_names_in_time_is_unused(store: Store) -> None:
    await store.expect_blob("b1", until=NOON)
    assert await store.unused_blobs(NOON - 1, limit=10) == []
    assert await store.unused_blobs(NOON, limit=10) == ["b1"]
    assert await store.unused_blobs(NOON, limit=10) == ["b1"]  # until it is forgotten
    await store.forget_blobs(["b1"])
    assert await store.unused_blobs(LATER, limit=10) == []


async def test_content_that_may_be_deleted_already_is_named_by_no_row(store: Store) -> None:
    late, unannounced = stored_file(), stored_file()
    await store.expect_blob(late.blob, until=NOON)
    await store.unused_blobs(NOON, limit=10)
    for stored in (late, unannounced):
        await refusal(BlobExpired, store.add_file(PROJECT, stored))
        assert await store.file(PROJECT, stored.file.id, NOON) is None


async def test_the_content_of_a_deleted_file_is_unused_at_once(store: Store) -> None:
    stored = stored_file()
    await store.expect_blob(stored.blob, until=LATER)
    await store.add_file(PROJECT, stored)
    assert await store.unused_blobs(LATER, limit=10) == []
    await store.delete_file(PROJECT, stored.file.id)
    assert await store.unused_blobs(NOON, limit=10) == [stored.blob]


async def test_expired_files_are_deleted_some_at_a_time(store: Store) -> None:
    for _ in range(3):
        await add_file(store, expires_at=NOON + 3600)
    kept = [await add_file(store), await add_file(store, expires_at=LATER + 1)]
    assert [await store.expire_files(LATER, limit=2) for _ in range(3)] == [2, 1, 0]
    assert (await page(store)).ids == kept
    assert len(await store.unused_blobs(NOON, limit=10)) == 3


# --- uploads


async def begin(store: Store, **fields: object) -> StoredUpload:
    begun = upload(**fields)
    await store.add_upload(PROJECT, begun)
    return begun


async def add_part(store: Store, to: StoredUpload, *, bytes_: int = 5, parts_max: int = 10) -> StoredPart:
    part = stored_part(to, bytes_=bytes_)
    await store.expect_blob(part.blob.key, until=LATER)
    await store.add_part(PROJECT, part, parts_max=parts_max, bytes_max=20)
    return part


async def end(store: Store, begun: StoredUpload, status: UploadStatus) -> None:
    await store.end_upload(PROJECT, replace(begun.upload, status=status), None)


async def test_an_upload_and_its_parts_come_back_as_they_were_given(store: Store) -> None:
    begun = upload()
    begun = replace(begun, file_seconds=3600)
    await store.add_upload(PROJECT, begun)
    assert await store.upload(PROJECT, begun.upload.id) == begun
    parts = [await add_part(store, begun) for _ in range(3)]
    await add_part(store, await begin(store))
    assert await store.parts(begun.upload.id) == parts


async def test_another_projects_upload_does_not_exist(store: Store) -> None:
    begun = await begin(store)
    assert await store.upload(OTHER, begun.upload.id) is None
    part = stored_part(begun)
    await store.expect_blob(part.blob.key, until=LATER)
    for awaited in (
        store.add_part(OTHER, part, parts_max=10, bytes_max=20),
        store.end_upload(OTHER, begun.upload, None),
    ):
        assert (await refusal(Missing, awaited)).kind == "upload"


async def test_a_completed_upload_has_its_file_and_keeps_no_parts(store: Store) -> None:
    begun = await begin(store)
    parts = [await add_part(store, begun) for _ in range(2)]
    file = stored_file()
    await store.expect_blob(file.blob, until=LATER)
    completed = replace(begun.upload, status="completed", file=file.file)
    await store.end_upload(PROJECT, completed, file)
    assert await store.upload(PROJECT, begun.upload.id) == replace(begun, upload=completed)
    assert await store.file(PROJECT, file.file.id, NOON) == file
    assert await store.parts(begun.upload.id) == []
    assert sorted(await store.unused_blobs(NOON, limit=10)) == sorted(part.blob.key for part in parts)


async def test_a_parts_content_may_become_the_files(store: Store) -> None:
    begun = await begin(store)
    part, other = await add_part(store, begun), await add_part(store, begun)
    file = stored_file(blob=part.blob.key)
    await store.end_upload(PROJECT, replace(begun.upload, status="completed", file=file.file), file)
    assert await store.unused_blobs(LATER, limit=10) == [other.blob.key]


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
async def test_an_upload_that_has_ended_takes_nothing_more(store: Store, status: UploadStatus) -> None:
    begun = await begin(store)
    await end(store, begun, status)
    part = stored_part(begun)
    await store.expect_blob(part.blob.key, until=NOON)
    refused = [
        store.add_part(PROJECT, part, parts_max=10, bytes_max=20),
        store.end_upload(PROJECT, begun.upload, None),
        store.end_upload(PROJECT, begun.upload, stored_file()),
    ]
    for awaited in refused:
        assert (await refusal(UploadEnded, awaited)).status == status
    assert await store.unused_blobs(NOON, limit=10) == [part.blob.key]


async def test_of_two_who_end_an_upload_one_does(store: Store) -> None:
    begun = await begin(store)
    outcomes = await asyncio.gather(*(end(store, begun, "cancelled") for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType"] + ["UploadEnded"] * 3


async def test_an_upload_takes_no_more_parts_and_bytes_than_it_may(store: Store) -> None:
    begun = await begin(store)
    await add_part(store, begun, bytes_=12)
    await refusal(UploadFull, add_part(store, begun, bytes_=9))
    await add_part(store, begun, bytes_=8)
    await refusal(UploadFull, add_part(store, begun, bytes_=0, parts_max=2))


async def test_an_upload_expires_and_is_forgotten_a_day_after_its_end(store: Store) -> None:
    begun = await begin(store)
    part = await add_part(store, begun)
    due = begun.upload.expires_at
    assert await store.expire_files(due - 1, limit=10) == 0
    assert await store.expire_files(due, limit=10) == 1
    expired = await store.upload(PROJECT, begun.upload.id)
    assert expired is not None
    assert expired.upload.status == "expired"
    assert await store.unused_blobs(NOON, limit=10) == [part.blob.key]
    assert await store.expire_files(due + UPLOAD_KEEP_SECONDS - 1, limit=10) == 0
    assert await store.expire_files(due + UPLOAD_KEEP_SECONDS, limit=10) == 1
    assert await store.upload(PROJECT, begun.upload.id) is None
