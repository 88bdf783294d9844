"""That SQLite answers each query from an index, and that each index answers some query."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from support.store import (
    NOON,
    PROJECT,
    assistant,
    message,
    new_run,
    stored_file,
    stored_part,
    thread,
    upload,
    with_files,
)
from support.vectors import OTHER_SPACE, SPACE, chunk, new_batch, new_store
from understudy.core.ids import RunId
from understudy.ports import Append, Bounds, ChunkKey, Line, PageQuery, Share, StoredFile, ThreadFilter
from understudy.store import (
    assistants,
    blob_keys,
    chunks,
    facts,
    file_batches,
    files,
    ingest,
    keys,
    letting_go,
    lines,
    messages,
    pages,
    runs,
    threads,
    uploads,
    vector_files,
    vector_stores,
    waiting,
)
from understudy.store.files import insert_file
from understudy.store.migrations import migrate_once
from understudy.store.operations import Op
from understudy.store.sqlite import SQLITE, connect, in_transaction
from understudy.wire.files import File
from understudy.wire.vector_stores import StoreExpiresAfter

T = TypeVar("T")
BOUNDS = Bounds(project_max=9, upstreams={"u": 9})
WEEK = StoreExpiresAfter(anchor="last_active_at", days=7)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(tmp_path / "u.db")
    while in_transaction(connection, migrate_once(SQLITE)):
        pass
    yield connection
    connection.close()


def _plans(connection: sqlite3.Connection, operation: Op[T]) -> Sequence[str]:
    """How SQLite goes about each query of an operation, which it also runs."""
    found: list[str] = []
    try:
        query = next(operation)
        while True:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.params).fetchall()
            found += [f"{detail}   <- {query.sql}" for *_, detail in plan]
            query = operation.send(connection.execute(query.sql, query.params).fetchall())
    except StopIteration:
        return found


def _all_plans(connection: sqlite3.Connection) -> Sequence[str]:
    made = thread()
    given = message(made.id)
    new = new_run(made.id, thread=made, messages=[given])
    run_id, thread_id = RunId(new.state.run.id), made.id
    state = new.state
    ended = replace(state, run=replace(state.run, status="cancelled"))
    ending = Append(run_id=run_id, at=NOON + 900, expected_seq=2, before=state, after=ended, facts=[])
    stored, begun = stored_file(blob="b1", expires_at=NOON + 1), upload()
    part = stored_part(begun, "b2")
    cursor = PageQuery(limit=20, descending=True, after=given.message.id)
    start = PageQuery(limit=20, descending=True)
    operations: list[Op[object]] = [
        runs.add_run(new),
        messages.add_message(PROJECT, message(made.id), True),
        waiting.newest_run(thread_id),
        waiting.move_up(thread_id),
        runs.run(run_id),
        lines.in_line(NOON, BOUNDS, None, 10),
        lines.in_line(NOON, Bounds(), Line(PROJECT, ""), 10),
        lines.lost(NOON, 10),
        lines.hold_place(Share(project=PROJECT, upstream="u", project_max=9, upstream_max=9), 1, in_turn=False),
        runs.expired(NOON + 900, 10),
        runs.renew("w", [run_id], NOON),
        facts.facts(run_id, 0, 10),
        facts.steps(run_id),
        facts.notes(run_id),
        messages.recent_messages(thread_id, None, 10),
        messages.first_messages(thread_id, 10),
        messages.delete_message(PROJECT, thread_id, "msg_x"),
        pages.page("message", PROJECT, thread_id, cursor),
        pages.page("message", PROJECT, thread_id, start, run_id),
        pages.page("run", PROJECT, thread_id, start),
        pages.page("step", PROJECT, run_id, start),
        pages.page("assistant", PROJECT, None, start),
        pages.threads(PROJECT, start, ThreadFilter()),
        pages.threads(PROJECT, start, ThreadFilter(metadata={"user": "u1", "shop": "s1"})),
        pages.threads(PROJECT, start, ThreadFilter(assistant_id="asst_x", metadata={"user": "u1"})),
        pages.body("step", PROJECT, run_id, "step_x"),
        pages.body("message", PROJECT, thread_id, given.message.id),
        runs.append(ending),
        facts.prune(NOON + 900, 10),
        blob_keys.expect_blob("b1", NOON),
        files.add_file(PROJECT, stored),
        blob_keys.expect_blob("b2", NOON),
        uploads.add_upload(PROJECT, upload()),
        uploads.add_upload(PROJECT, begun),
        uploads.add_part(PROJECT, part, 10, 100),
        files.file(PROJECT, stored.file.id, NOON),
        files.missing_files(PROJECT, [stored.file.id, "file-x"], NOON),
        pages.files(PROJECT, start, None, NOON),
        pages.files(PROJECT, start, "vision", NOON),
        assistants.add_assistant(PROJECT, assistant(tool_resources=with_files(stored.file.id))),
        threads.add_thread(PROJECT, thread(tool_resources=with_files(stored.file.id)), ()),
        uploads.parts(begun.upload.id),
        uploads.end_upload(PROJECT, begun.upload, None),
        files.expire_files(NOON + 900, 10),
        uploads.expire_uploads(NOON + 900, 10),
        blob_keys.unused_blobs(NOON, 10),
        blob_keys.forget_blobs(["b1"]),
        keys.keys(),
        keys.key_by_digest(b""),
        threads.delete_thread(PROJECT, thread_id),
    ]
    operations += _vector_operations()
    return [plan for operation in operations for plan in _plans(connection, operation)]


def _vector_operations() -> list[Op[object]]:
    files = [StoredFile(file=_file(number), blob=f"b{number}") for number in range(3)]
    new = new_store(*(stored.file.id for stored in files), embedding=SPACE, expires_after=WEEK)
    store_id, file_id, batch = new.store.id, files[0].file.id, new_batch(new.store.id)
    start = PageQuery(limit=20, descending=True)
    cursor = PageQuery(limit=20, descending=False, after=file_id)
    return [
        *(insert_file(PROJECT, stored) for stored in files),
        vector_stores.add_vector_store(PROJECT, new),
        vector_stores.vector_stores_page(PROJECT, start),
        vector_files.attach_files(PROJECT, store_id, new.files[:2], NOON, batch),
        vector_files.store_files_page(PROJECT, store_id, cursor, None, None),
        vector_files.store_files_page(PROJECT, store_id, start, "completed", None),
        vector_files.store_files_page(PROJECT, store_id, cursor, None, batch.id),
        vector_files.store_files_page(PROJECT, store_id, start, "failed", batch.id),
        file_batches.batch(PROJECT, store_id, batch.id),
        ingest.claim_ingest("w", NOON, NOON + 15, 10),
        ingest.renew_ingest("w", [1, 2, 3, 4, 5], NOON + 30),
        *(chunks.put_chunks("w", generation, [chunk(0), chunk(1)]) for generation in (3, 4, 5)),
        *(ingest.finish_ingest("w", generation, 2, 10) for generation in (3, 4)),
        file_batches.cancel_batch(PROJECT, store_id, batch.id),
        ingest.being_indexed([store_id]),
        chunks.index_head(store_id),
        chunks.index_rows(4, SPACE),
        chunks.chunk_texts([ChunkKey(4, 0)]),
        chunks.file_texts(store_id, file_id),
        chunks.put_vectors(4, OTHER_SPACE, [(0, b""), (1, b"")]),
        chunks.missing_vectors(store_id, OTHER_SPACE, 10, ChunkKey(4, 0)),
        chunks.switch_embedding(store_id, OTHER_SPACE),
        letting_go.prune_index(10, 10),
        vector_files.detach_everywhere(file_id),
        vector_stores.expire_vector_stores(NOON + 9_000_000, 10),
        letting_go.prune_index(10, 10),
        vector_stores.delete_vector_store(PROJECT, store_id),
        *(letting_go.prune_index(10, 10) for _ in range(10)),
    ]


def _file(number: int) -> File:
    return File(id=f"file-{number}", bytes=5, created_at=NOON, filename=f"{number}.txt", purpose="assistants")


def test_no_query_reads_a_whole_table_or_sorts(connection: sqlite3.Connection) -> None:
    for plan in _all_plans(connection):
        assert "USE TEMP B-TREE" not in plan, plan
        made = plan.startswith(("SCAN h ", "SCAN p "))  # of the statement's own rows
        assert "SCAN" not in plan or "USING INDEX" in plan or "CONSTANT ROW" in plan or made, plan


def test_each_index_answers_a_query(connection: sqlite3.Connection) -> None:
    plans = "\n".join(_all_plans(connection))
    indexes = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    assert indexes
    assert [name for (name,) in indexes if name not in plans] == []
