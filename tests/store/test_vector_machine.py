"""Whatever is done to vector stores, in whatever order, rows answer as a dictionary would.

The operations are driven on one connection, without a server: thousands of steps a second.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec import Struct

from support.store import NOON, PROJECT, fresh
from support.vectors import ALL, chunk, new_batch, new_file, new_store
from understudy.core.limits import INGEST_ATTEMPTS_MAX
from understudy.ports import StoredFile
from understudy.store import chunks, file_batches, ingest, letting_go, vector_files, vector_stores
from understudy.store.files import insert_file
from understudy.store.migrations import migrate_once
from understudy.store.operations import Op
from understudy.store.sqlite import SQLITE, connect, in_transaction
from understudy.wire.files import File
from understudy.wire.vector_stores import FileCounts

T = TypeVar("T")
LEASE = 10
STORES = st.integers(0, 1)
FILES = st.integers(0, 3)
OWNERS = st.sampled_from(["v", "w"])
FEW = st.lists(FILES, min_size=1, max_size=3)


class Known(Struct):
    """A file of a store. `texts` are what its search finds; `job` is the last attachment's number in our own count."""

    status: str
    job: int
    texts: list[str] | None = None
    owner: str | None = None
    until: int = 0
    attempts: int = 0


class KnownBatch(Struct):
    store: int
    members: dict[int, int]  # a file's number, and which of its attachments it was
    cancelled: bool = False


class Rows(RuleBasedStateMachine):
    connection: ClassVar[sqlite3.Connection]

    def __init__(self) -> None:
        super().__init__()
        self.now, self.jobs = NOON, 0
        made = [new_store() for _ in range(2)]
        self.stores: list[str | None] = [new.store.id for new in made]
        self.files = [
            File(id=fresh("file"), bytes=1, created_at=NOON, filename="a.txt", purpose="user_data") for _ in "1234"
        ]
        self.known: list[dict[int, Known]] = [{}, {}]
        self.batches: dict[str, KnownBatch] = {}
        self.generations: dict[int, tuple[int, int, int]] = {}  # store, file, attachment
        for file in self.files:
            self.do(insert_file(PROJECT, StoredFile(file=file, blob=file.id)))
        for new in made:
            self.do(vector_stores.add_vector_store(PROJECT, new))

    def do(self, operation: Op[T]) -> T:
        return in_transaction(self.connection, operation)

    def teardown(self) -> None:
        """What is left of it shall not be claimed by the next example."""
        for store_id in self.stores:
            if store_id is not None:
                self.do(vector_stores.delete_vector_store(PROJECT, store_id))
        while self.do(letting_go.prune_index(100, 100)):
            pass
        tables = ("store_files", "batch_files", "file_batches", "chunks", "chunk_texts", "chunk_vectors", "let_go")
        for table in tables:
            assert self.connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,), table

    # --- what clients do

    @rule(store=STORES, files=FEW, batched=st.booleans())
    def attach(self, store: int, files: list[int], batched: bool) -> None:
        store_id = self.stores[store]
        if store_id is None:
            return
        batch = new_batch(store_id) if batched else None
        new = [new_file(self.files[file].id) for file in files]
        self.do(vector_files.attach_files(PROJECT, store_id, new, self.now, batch))
        for file in dict.fromkeys(files):
            self.jobs += 1
            before = self.known[store].get(file)
            self.known[store].pop(file, None)
            kept = None if before is None else before.texts
            self.known[store][file] = Known("in_progress", self.jobs, kept)
        if batch is not None:
            self.batches[batch.id] = KnownBatch(store, {file: self.known[store][file].job for file in files})

    @rule(store=STORES, file=FILES)
    def detach(self, store: int, file: int) -> None:
        store_id = self.stores[store]
        if store_id is not None:
            there = self.known[store].pop(file, None) is not None
            assert self.do(vector_files.detach_file(PROJECT, store_id, self.files[file].id)) is there
            self.forget(store, file)

    @rule(file=FILES)
    def detach_everywhere(self, file: int) -> None:
        self.do(vector_files.detach_everywhere(self.files[file].id))
        for store in range(2):
            self.known[store].pop(file, None)
            self.forget(store, file)

    def forget(self, store: int, file: int) -> None:
        for batch in self.batches.values():
            if batch.store == store:
                batch.members.pop(file, None)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.batches:
            return
        batch_id = data.draw(st.sampled_from(list(self.batches)))
        batch = self.batches[batch_id]
        store_id = self.stores[batch.store]
        if store_id is None:
            return
        self.do(file_batches.cancel_batch(PROJECT, store_id, batch_id))
        for file, job in batch.members.items():
            known = self.known[batch.store][file]
            if known.job == job and known.status == "in_progress":
                known.status, known.owner, batch.cancelled = "cancelled", None, True

    @rule(store=STORES)
    def delete(self, store: int) -> None:
        store_id = self.stores[store]
        if store_id is not None and self.jobs % 5 == 0:
            assert self.do(vector_stores.delete_vector_store(PROJECT, store_id))
            self.stores[store], self.known[store] = None, {}
            self.batches = {id_: batch for id_, batch in self.batches.items() if batch.store != store}

    # --- what workers do

    @rule(owner=OWNERS, limit=st.integers(1, 3))
    def claim(self, owner: str, limit: int) -> None:
        jobs = self.do(ingest.claim_ingest(owner, self.now, self.now + LEASE, limit))
        due = sorted(
            (known.job, store, file)
            for store in range(2)
            for file, known in self.known[store].items()
            if known.status == "in_progress" and (known.owner is None or known.until <= self.now)
        )
        expected = []
        for _, store, file in due:
            if len(expected) == limit:
                break
            known = self.known[store][file]
            if known.attempts == INGEST_ATTEMPTS_MAX:
                known.status, known.owner = "failed", None
            else:
                expected.append((store, file))
        assert [(self.stores.index(job.store_id), self.file_number(job.stored.file.id)) for job in jobs] == expected
        for job, (store, file) in zip(jobs, expected, strict=True):
            known = self.known[store][file]
            known.owner, known.until, known.attempts = owner, self.now + LEASE, known.attempts + 1
            assert job.attempts == known.attempts
            self.generations[job.generation] = (store, file, known.job)

    @rule(data=st.data(), owner=OWNERS, count=st.integers(0, 3))
    def finish(self, data: st.DataObject, owner: str, count: int) -> None:
        generation, known = self.some_job(data, owner)
        if generation is not None:
            self.end(generation, known, owner, count)

    def end(self, generation: int, known: Known | None, owner: str, count: int) -> None:
        texts = [f"{generation} {number} {self.now}" for number in range(count)]
        new = [chunk(number, text) for number, text in enumerate(texts)]
        assert self.do(chunks.put_chunks(owner, generation, [*new, chunk(count)])) is (known is not None)
        assert self.do(ingest.finish_ingest(owner, generation, count, count)) is (known is not None)
        if known is not None:
            known.status, known.texts, known.owner = "completed", texts, None

    @rule(data=st.data(), owner=OWNERS, count=st.integers(1, 4))
    def put(self, data: st.DataObject, owner: str, count: int) -> None:
        """Chunks of a job that may never be finished."""
        generation, known = self.some_job(data, owner)
        if generation is not None:
            new = [chunk(number, "unfinished") for number in range(count)]
            assert self.do(chunks.put_chunks(owner, generation, new)) is (known is not None)

    @rule(store=STORES, file=FILES, owner=OWNERS, count=st.integers(0, 3))
    def index(self, store: int, file: int, owner: str, count: int) -> None:
        """One file from its attachment to its last chunk, with whatever else is due."""
        self.attach(store, [file], batched=False)
        self.claim(owner, 10)
        known = self.known[store].get(file)
        for generation, (_, _, job) in list(self.generations.items()):
            if known is not None and job == known.job:
                self.end(generation, known, owner, count)

    @rule(data=st.data(), owner=OWNERS)
    def fail(self, data: st.DataObject, owner: str) -> None:
        generation, known = self.some_job(data, owner)
        if generation is not None:
            assert self.do(ingest.fail_ingest(owner, generation, "invalid_file", "No.")) is (known is not None)
            if known is not None:
                known.status, known.owner = "failed", None

    @rule(data=st.data(), owner=OWNERS)
    def release(self, data: st.DataObject, owner: str) -> None:
        generation, known = self.some_job(data, owner)
        if generation is not None:
            self.do(ingest.release_ingest(owner, [generation]))
            if known is not None:
                known.owner, known.attempts = None, known.attempts - 1

    def some_job(self, data: st.DataObject, owner: str) -> tuple[int | None, Known | None]:
        """Any job that was ever claimed; and what is known of it if it is still this owner's."""
        if not self.generations:
            return None, None
        generation = data.draw(st.sampled_from(list(self.generations)[-4:]))
        store, file, job = self.generations[generation]
        known = self.known[store].get(file)
        ours = known is not None and known.job == job and known.status == "in_progress" and known.owner == owner
        return generation, known if ours else None

    @rule(seconds=st.integers(1, 2 * LEASE))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.do(letting_go.prune_index(2, 2))

    # --- what is seen

    def file_number(self, file_id: str) -> int:
        return next(number for number, file in enumerate(self.files) if file.id == file_id)

    @invariant()
    def rows_answer_as_the_dictionary(self) -> None:
        for store, store_id in enumerate(self.stores):
            if store_id is None:
                continue
            known = self.known[store]
            shown = self.do(vector_stores.vector_store(PROJECT, store_id))
            assert shown is not None
            assert shown.store.file_counts == counts([one.status for one in known.values()])
            head = self.do(chunks.index_head(store_id))
            assert head is not None
            found = {self.file_number(one.file_id) for one in head.files}
            assert found == {file for file, one in known.items() if one.texts is not None}
            for file, one in known.items():
                assert self.do(chunks.file_texts(store_id, self.files[file].id)) == (one.texts or [])
            page = self.do(vector_files.store_files_page(PROJECT, store_id, ALL, None, None))
            assert {self.file_number(id_) for id_ in page.ids} == set(known)
        for batch_id, batch in self.batches.items():
            store_id = self.stores[batch.store]
            assert store_id is not None
            shown_batch = self.do(file_batches.batch(PROJECT, store_id, batch_id))
            assert shown_batch is not None
            statuses = [self.known[batch.store][file].status for file in batch.members]
            assert shown_batch.file_counts == counts(statuses)
            assert (shown_batch.status == "cancelled") is batch.cancelled


def counts(statuses: list[str]) -> FileCounts:
    made = {name: statuses.count(name) for name in ("in_progress", "completed", "failed", "cancelled")}
    return FileCounts(**made, total=len(statuses))


def test_rows_answer_as_a_dictionary_would(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "u.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        while in_transaction(connection, migrate_once(SQLITE)):
            pass

        class Ours(Rows):
            pass

        Ours.connection = connection
        run_state_machine_as_test(
            Ours,
            settings=settings(
                max_examples=40,
                stateful_step_count=50,
                derandomize=True,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
