"""The rows: what is stored of assistants, threads, messages, runs and keys, and the calls that read and write it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from understudy.core.ids import Kind, ProjectId, RunId, ThreadId
from understudy.core.run.machine import Decision
from understudy.core.run.state import Fact, Note, RunSettings, RunState
from understudy.ports.common import PageQuery, Rows
from understudy.ports.files import FileStore
from understudy.ports.vectors import Attached, NewVectorStore, VectorRows
from understudy.wire.assistants import Assistant
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.steps import RunStep
from understudy.wire.threads import Thread

# --- values


class Given(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sampling settings as the caller gave them: an answer shows 1.0 for an absent one, a model server is sent none."""

    temperature: float | None = None
    top_p: float | None = None


class StoredAssistant(Struct, frozen=True, kw_only=True):
    assistant: Assistant
    given: Given = Given()


class StoredMessage(Struct, frozen=True, kw_only=True):
    """A message with the number of tokens that its content costs, counted when it was written.

    `seq` is its place in insertion order, over all threads; 0 before it is stored. `turn` is of a message that was
    added to a busy thread: models read it behind the thread's message with that `seq`.
    """

    message: Message
    tokens: int
    seq: int = 0
    turn: int | None = None


class Lease(Struct, frozen=True, kw_only=True):
    """Who works on a run, and until when (Unix seconds) nobody else may."""

    owner: str
    until: float


class Bounds(Struct, frozen=True, kw_only=True):
    """How many runs may be worked on at once, by all processes together: of each project, and at model servers."""

    project_max: int | None = None
    upstreams: Mapping[str, int] = {}


class Share(Struct, frozen=True, kw_only=True):
    """What a run counts against while it is worked on. `upstream` is its model server where that has a bound."""

    project: ProjectId
    upstream: str = ""
    project_max: int | None = None
    upstream_max: int | None = None


class Line(NamedTuple):
    """Where a queued run waits: first come, first served within it. `upstream` as in `Share`."""

    project: ProjectId
    upstream: str


class RunInLine(Struct, frozen=True, kw_only=True):
    """The first of its line. A higher `seq` is a younger run's. `has_place`: no bound holds it back."""

    run_id: RunId
    seq: int
    line: Line
    has_place: bool


class StoredRun(Struct, frozen=True, kw_only=True):
    """A run as the rows have it. `seq` is the number of its last fact and guards every append.

    `opening` is all that its thread holds, oldest first, where the run began with it: this need not be read.
    """

    project: ProjectId
    state: RunState
    settings: RunSettings
    seq: int
    lease: Lease | None
    opening: Sequence[StoredMessage] | None = None


class NewRun(Struct, frozen=True, kw_only=True):
    """All that is written when a run begins: the thread too when there is none yet, and the additional messages."""

    project: ProjectId
    state: RunState
    settings: RunSettings
    facts: Sequence[Fact]
    messages: Sequence[StoredMessage] = ()
    attached: Attached | None = None  # by the messages
    thread: Thread | None = None
    lease: Lease | None = None
    if_busy: Decision | None = None  # written instead where a run is active: this one waits for its turn
    share: Share | None = None  # in bounds that there are


class Begun(Struct, frozen=True, kw_only=True):
    """`seq` is the number of the run's last fact. `waits`: `if_busy` was written, and the lease is not taken."""

    seq: int
    waits: bool = False


class Append(Struct, frozen=True, kw_only=True):
    """Facts and the state that they lead to, to be written in one transaction.

    It is refused unless the run's last fact is still `expected_seq` and, where `owner` is given, that owner still
    holds the lease. `lease` takes or gives up the run: `"keep"` leaves it, `None` frees it.
    """

    run_id: RunId
    at: int  # the moment of the facts, in whole Unix seconds
    expected_seq: int
    before: RunState
    after: RunState
    facts: Sequence[Fact]
    owner: str | None = None
    lease: Lease | Literal["keep"] | None = "keep"
    message_tokens: int = 0  # of the message that these facts complete
    notes: Mapping[str, Note] = {}  # of the calls of the step that is open before these facts; they stay with it
    share: Share | None = None  # of a run that is taken, in bounds that there are


class Appended(Struct, frozen=True, kw_only=True):
    """`seq` is the number of the run's last fact. `released` waited for this run's end and may be taken now."""

    seq: int
    written: Decision  # what was appended, with the metadata that clients gave meanwhile
    released: RunId | None = None


class LoggedFact(Struct, frozen=True):
    """A fact as the log keeps it: its number, its event's name, and the event's `data` as JSON."""

    seq: int
    event: str
    data: bytes


class ThreadFilter(Struct, frozen=True, kw_only=True):
    """Which threads are wanted: those that carry all of this metadata, and on which this assistant has run."""

    metadata: Mapping[str, str] = {}
    assistant_id: str | None = None


class StoredKey(Struct, frozen=True, kw_only=True):
    """An API key without the key: only its SHA-256 is kept. `hint` is its first characters, for `keys list`."""

    id: str
    name: str
    hint: str
    digest: bytes
    project: ProjectId
    created_at: int
    revoked_at: int | None = None


# --- the calls


class Store(FileStore, VectorRows, Protocol):
    """All rows. Every write is one transaction and durable when the call returns; ids are checked for the project."""

    async def close(self) -> None: ...

    async def check(self) -> None:
        """Raises `StoreUnavailable` unless a read and a write both work."""

    # assistants

    async def add_assistant(
        self, project: ProjectId, stored: StoredAssistant, *, store: NewVectorStore | None = None
    ) -> None:
        """With the vector store that it names and that is made along with it. Raises `Missing` (a file)."""

    async def assistant(self, project: ProjectId, assistant_id: str) -> StoredAssistant | None: ...

    async def update_assistant(
        self, project: ProjectId, assistant_id: str, change: Callable[[StoredAssistant], StoredAssistant]
    ) -> StoredAssistant:
        """Raises `Missing`. `change` runs inside the transaction, and may run again."""

    async def delete_assistant(self, project: ProjectId, assistant_id: str) -> bool: ...

    # threads

    async def add_thread(
        self,
        project: ProjectId,
        thread: Thread,
        messages: Sequence[StoredMessage],
        *,
        attached: Attached | None = None,
    ) -> None:
        """A thread that names what its messages attach already.

        Raises `ThreadFull`, `Missing` (a file), `CodeFilesFull`, `VectorStoreExpired`, `VectorStoreFull`.
        """

    async def thread_exists(self, project: ProjectId, thread_id: str) -> bool: ...

    async def threads(self, project: ProjectId, query: PageQuery, wanted: ThreadFilter) -> Rows:
        """A page of the project's threads. Raises `Missing` for an unknown cursor."""

    async def update_thread(self, project: ProjectId, thread_id: str, change: Callable[[Thread], Thread]) -> Thread: ...

    async def delete_thread(self, project: ProjectId, thread_id: str) -> Sequence[RunId] | None:
        """Everything under the thread goes with it. The ids of runs that were active, or waited; `None`: no thread."""

    # messages

    async def add_message(
        self, project: ProjectId, stored: StoredMessage, *, queue: bool = False, attached: Attached | None = None
    ) -> None:
        """Raises `Missing` (the thread), `ThreadFull`; `ThreadBusy` unless it may `queue` for runs that come later.

        What it attaches is refused as `add_thread` does.
        """

    async def update_message(
        self, project: ProjectId, thread_id: str, message_id: str, change: Callable[[Message], Message]
    ) -> Message: ...

    async def delete_message(self, project: ProjectId, thread_id: str, message_id: str) -> bool: ...

    async def recent_messages(
        self, thread_id: ThreadId, *, before: StoredMessage | None, limit: int
    ) -> Sequence[StoredMessage]:
        """What the active run may read, newest first as models read it, before `before`; nothing still in progress."""

    async def first_messages(self, thread_id: ThreadId, *, limit: int) -> Sequence[StoredMessage]:
        """Oldest first, of what the active run may read; messages still in progress are left out."""

    # objects as JSON, for answers that need no decision

    async def body(self, kind: Kind, project: ProjectId, parent_id: str | None, id_: str) -> bytes | None:
        """One object as stored. `parent_id` is the thread's of a message or run, the run's of a step."""

    async def page(
        self, kind: Kind, project: ProjectId, parent_id: str | None, query: PageQuery, *, run_id: str | None = None
    ) -> Rows:
        """A page of a kind under its parent. `run_id` narrows messages. Raises `Missing` for an unknown cursor."""

    # runs

    async def add_run(self, new: NewRun) -> Begun:
        """Raises `Missing` (the thread), `ThreadBusy`, `ThreadFull`; `NoPlace` where there is a lease."""

    async def run(self, run_id: RunId) -> StoredRun | None: ...

    async def append(self, append: Append, then: Callable[[Appended], None] | None = None) -> Appended:
        """Raises `SeqConflict`; `Missing` when the run's thread was deleted; `NoPlace` where there is a share.

        `then` is called once it is durable: in the order of the writes, before the caller goes on, and also where the
        caller was cancelled meanwhile.
        """

    async def update_run(self, project: ProjectId, thread_id: str, run_id: str, change: Callable[[Run], Run]) -> Run:
        """For what is not the machine's business (metadata): no fact, no new number. Raises `Missing`."""

    async def steps(self, run_id: RunId) -> Sequence[RunStep]:
        """All of a run's steps, oldest first."""

    async def notes(self, run_id: RunId) -> Mapping[str, Mapping[str, Note]]:
        """Of a run's calls of built-in tools, by step and call. Steps without any are left out."""

    async def facts(self, run_id: RunId, *, after_seq: int, limit: int) -> Sequence[LoggedFact]: ...

    async def prune(self, ended_by: int, *, limit: int) -> bool:
        """Deletes the facts of runs that ended by then, all of a run's and about `limit`; whether more may be left."""

    async def in_line(
        self, now: float, *, limit: int, bounds: Bounds | None = None, behind: Line | None = None
    ) -> Sequence[RunInLine]:
        """The oldest queued run of each line, in the order of lines; of those `behind` one."""

    async def lost(self, now: float, *, limit: int) -> Sequence[RunId]:
        """Runs that were being worked on, under a lease that ran out: a worker should take them over."""

    async def renew(self, owner: str, run_ids: Sequence[RunId], until: float) -> Sequence[RunId]:
        """Extends leases; the ids of runs to go on with: still the owner's, and not being cancelled."""

    async def expired(self, now: int, *, limit: int) -> Sequence[RunId]:
        """Active runs past their `expires_at` that no live lease protects, oldest first."""

    # the installation

    async def kept(self, name: str, value: str) -> str:
        """What was kept under this name first, by any process: this value, where there was none."""

    async def look_up(self, name: str) -> str | None:
        """What is kept under this name."""

    # keys

    async def add_key(self, key: StoredKey) -> None: ...

    async def keys(self) -> Sequence[StoredKey]: ...

    async def key_by_digest(self, digest: bytes) -> StoredKey | None: ...

    async def revoke_key(self, key_id: str, at: int) -> bool: ...
