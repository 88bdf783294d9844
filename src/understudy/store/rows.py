"""`ports.Store` on any engine that can run operations: which operation answers which call."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from understudy.core.ids import Kind, ProjectId, RunId, ThreadId
from understudy.core.run.state import Note
from understudy.ports import (
    Append,
    Appended,
    Attached,
    Begun,
    Bounds,
    Line,
    LoggedFact,
    NewRun,
    NewVectorStore,
    PageQuery,
    Rows,
    RunInLine,
    Share,
    Store,
    StoredAssistant,
    StoredKey,
    StoredMessage,
    StoredRun,
    ThreadFilter,
)
from understudy.store import assistants, facts, health, installation, keys, lines, messages, pages, runs, threads
from understudy.store.file_rows import FileRows
from understudy.store.operations import Op
from understudy.store.vector_rows import VectorRowStore
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.steps import RunStep
from understudy.wire.threads import Thread

T = TypeVar("T")


class RowStore(FileRows, VectorRowStore, Store):
    """The store without its engine. `keeps_time`: it runs elsewhere, and has a clock of its own."""

    keeps_time = False

    @abstractmethod
    async def _read(self, operation: Op[T]) -> T:
        """Runs what only reads. Raises `StoreUnavailable`."""

    @abstractmethod
    async def _write(
        self, operation: Callable[[], Op[T]], then: Callable[[T], None] | None = None, *, about: str | None = None
    ) -> T:
        """Runs what writes; durable when this returns. May make the operation again. Raises `StoreUnavailable`.

        `then` is given the result even if the caller is cancelled meanwhile; in the order of the writes. `about`: the
        thread whose rows the operation reads and changes, and no others that anybody changes: then it may be done side
        by side with operations about other threads.
        """

    @abstractmethod
    async def close(self) -> None: ...

    async def time(self) -> float:
        """The engine's own, in Unix seconds, where it `keeps_time`. Raises `StoreUnavailable`."""
        return await self._read(health.time())

    async def check(self) -> None:
        await self._write(health.touch)
        await self._read(health.look())

    # assistants

    async def add_assistant(
        self, project: ProjectId, stored: StoredAssistant, *, store: NewVectorStore | None = None
    ) -> None:
        await self._write(partial(assistants.add_assistant, project, stored, store))

    async def assistant(self, project: ProjectId, assistant_id: str) -> StoredAssistant | None:
        return await self._read(assistants.assistant(project, assistant_id))

    async def update_assistant(
        self, project: ProjectId, assistant_id: str, change: Callable[[StoredAssistant], StoredAssistant]
    ) -> StoredAssistant:
        return await self._write(partial(assistants.update_assistant, project, assistant_id, change))

    async def delete_assistant(self, project: ProjectId, assistant_id: str) -> bool:
        return await self._write(partial(assistants.delete_assistant, project, assistant_id))

    # threads

    async def add_thread(
        self,
        project: ProjectId,
        thread: Thread,
        messages: Sequence[StoredMessage],
        *,
        attached: Attached | None = None,
    ) -> None:
        about = _about(thread.id, attached)
        await self._write(partial(threads.add_thread, project, thread, messages, attached), about=about)

    async def thread_exists(self, project: ProjectId, thread_id: str) -> bool:
        return await self._read(threads.thread_exists(project, thread_id))

    async def threads(self, project: ProjectId, query: PageQuery, wanted: ThreadFilter) -> Rows:
        return await self._read(pages.threads(project, query, wanted))

    async def update_thread(self, project: ProjectId, thread_id: str, change: Callable[[Thread], Thread]) -> Thread:
        return await self._write(partial(threads.update_thread, project, thread_id, change))

    async def delete_thread(self, project: ProjectId, thread_id: str) -> Sequence[RunId] | None:
        return await self._write(partial(threads.delete_thread, project, thread_id))

    # messages

    async def add_message(
        self, project: ProjectId, stored: StoredMessage, *, queue: bool = False, attached: Attached | None = None
    ) -> None:
        about = _about(stored.message.thread_id, attached)
        await self._write(partial(messages.add_message, project, stored, queue, attached), about=about)

    async def update_message(
        self, project: ProjectId, thread_id: str, message_id: str, change: Callable[[Message], Message]
    ) -> Message:
        return await self._write(partial(messages.update_message, project, thread_id, message_id, change))

    async def delete_message(self, project: ProjectId, thread_id: str, message_id: str) -> bool:
        return await self._write(partial(messages.delete_message, project, thread_id, message_id))

    async def recent_messages(
        self, thread_id: ThreadId, *, before: StoredMessage | None, limit: int
    ) -> Sequence[StoredMessage]:
        return await self._read(messages.recent_messages(thread_id, before, limit))

    async def first_messages(self, thread_id: ThreadId, *, limit: int) -> Sequence[StoredMessage]:
        return await self._read(messages.first_messages(thread_id, limit))

    # objects as JSON

    async def body(self, kind: Kind, project: ProjectId, parent_id: str | None, id_: str) -> bytes | None:
        return await self._read(pages.body(kind, project, parent_id, id_))

    async def page(
        self, kind: Kind, project: ProjectId, parent_id: str | None, query: PageQuery, *, run_id: str | None = None
    ) -> Rows:
        return await self._read(pages.page(kind, project, parent_id, query, run_id))

    # runs

    async def add_run(self, new: NewRun) -> Begun:
        about = _about(new.state.run.thread_id, new.attached, new.share)
        return await self._write(partial(runs.add_run, new), about=about)

    async def run(self, run_id: RunId) -> StoredRun | None:
        return await self._read(runs.run(run_id))

    async def append(self, append: Append, then: Callable[[Appended], None] | None = None) -> Appended:
        about = _about(append.before.run.thread_id, share=append.share)
        return await self._write(partial(runs.append, append), then, about=about)

    async def update_run(self, project: ProjectId, thread_id: str, run_id: str, change: Callable[[Run], Run]) -> Run:
        return await self._write(partial(runs.update_run, project, thread_id, run_id, change))

    async def steps(self, run_id: RunId) -> Sequence[RunStep]:
        return await self._read(facts.steps(run_id))

    async def notes(self, run_id: RunId) -> Mapping[str, Mapping[str, Note]]:
        return await self._read(facts.notes(run_id))

    async def facts(self, run_id: RunId, *, after_seq: int, limit: int) -> Sequence[LoggedFact]:
        return await self._read(facts.facts(run_id, after_seq, limit))

    async def prune(self, ended_by: int, *, limit: int) -> bool:
        return await self._write(partial(facts.prune, ended_by, limit))

    async def in_line(
        self, now: float, *, limit: int, bounds: Bounds | None = None, behind: Line | None = None
    ) -> Sequence[RunInLine]:
        return await self._read(lines.in_line(now, bounds or Bounds(), behind, limit))

    async def lost(self, now: float, *, limit: int) -> Sequence[RunId]:
        return await self._read(lines.lost(now, limit))

    async def renew(self, owner: str, run_ids: Sequence[RunId], until: float) -> Sequence[RunId]:
        return await self._write(partial(runs.renew, owner, run_ids, until))

    async def expired(self, now: int, *, limit: int) -> Sequence[RunId]:
        return await self._read(runs.expired(now, limit))

    # the installation

    async def kept(self, name: str, value: str) -> str:
        return await self._write(partial(installation.kept, name, value))

    async def look_up(self, name: str) -> str | None:
        return await self._read(installation.look_up(name))

    # keys

    async def add_key(self, key: StoredKey) -> None:
        await self._write(partial(keys.add_key, key))

    async def keys(self) -> Sequence[StoredKey]:
        return await self._read(keys.keys())

    async def key_by_digest(self, digest: bytes) -> StoredKey | None:
        return await self._read(keys.key_by_digest(digest))

    async def revoke_key(self, key_id: str, at: int) -> bool:
        return await self._write(partial(keys.revoke_key, key_id, at))


def _about(thread_id: str, attached: Attached | None = None, share: Share | None = None) -> str | None:
    """Files to search are rows of a vector store, which other threads may have too. Bounds are counted over threads."""
    has_store = attached is not None and attached.search is not None
    return None if has_store or share is not None else thread_id
