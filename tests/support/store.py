"""Rows by hand: the values that the store is given, and the engines that it is tested on."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from support.postgres import database_url
from understudy.core.ids import PREFIXES, Kind, ProjectId, RunId
from understudy.core.run.machine import Decision
from understudy.core.run.state import Discarded, Fact, MessageFact, Progress, RunFact, RunSettings, RunState, StepFact
from understudy.ports import (
    Append,
    Blob,
    Given,
    Lease,
    NewRun,
    Store,
    StoredAssistant,
    StoredFile,
    StoredMessage,
    StoredPart,
    StoredUpload,
)
from understudy.store.postgres import open_postgres
from understudy.store.sqlite import open_sqlite
from understudy.wire.assistants import Assistant
from understudy.wire.files import File
from understudy.wire.messages import Message, TextPart, TextValue
from understudy.wire.runs import Run, RunStatus, Truncation, Usage
from understudy.wire.steps import CreatedMessage, MessageCreation, RunStep, ToolCalls
from understudy.wire.threads import Thread
from understudy.wire.tools import CodeInterpreterResources, Function, FunctionTool, ToolResources
from understudy.wire.uploads import Upload, UploadPart

E = TypeVar("E", bound=Exception)
ENGINES = ("sqlite", "postgres")
VECTOR_ENGINES = (*ENGINES, "pgvector")
PROJECT = ProjectId("proj_a")
OTHER = ProjectId("proj_b")
NOON = 1_760_000_000

_numbers = count(1)


@asynccontextmanager
async def open_engine(name: str, directory: Path) -> AsyncIterator[Store]:
    """A store on this directory's database of this engine, which is empty at first."""
    store: Store
    match name:
        case "sqlite":
            store = await open_sqlite(directory / "understudy.db")
        case "postgres":
            store = await open_postgres(database_url(directory))
        case "pgvector":
            # Not above: it imports this module's neighbours.
            from support.pgvector import open_vectors, vector_database_url

            async with open_vectors(vector_database_url(directory)) as (opened, _):
                yield opened
            return
        case _:
            raise AssertionError(name)
    try:
        yield store
    finally:
        await store.close()


async def refusal(kind: type[E], awaited: Awaitable[object]) -> E:
    """The exception of this kind that the call ends in."""
    with pytest.raises(kind) as caught:
        await awaited
    return caught.value


def fresh(kind: Kind) -> str:
    return f"{PREFIXES[kind]}{next(_numbers):024}"


def assistant(**fields: object) -> StoredAssistant:
    made = Assistant(
        id=fresh("assistant"),
        created_at=NOON,
        name="Ann",
        description=None,
        model="m",
        instructions=None,
        tools=[],
        tool_resources=ToolResources(),
        metadata={},
        temperature=1.0,
        top_p=1.0,
        response_format="auto",
    )
    return StoredAssistant(assistant=replace(made, **fields), given=Given(temperature=0.5))


def thread(**fields: object) -> Thread:
    return replace(Thread(id=fresh("thread"), created_at=NOON), **fields)


def text(value: str) -> TextPart:
    return TextPart(text=TextValue(value=value))


def message(thread_id: str, value: str = "Hello", tokens: int = 3, **fields: object) -> StoredMessage:
    made = Message(
        id=fresh("message"),
        created_at=NOON,
        completed_at=NOON,
        thread_id=thread_id,
        status="completed",
        role="user",
        content=[text(value)],
    )
    return StoredMessage(message=replace(made, **fields), tokens=tokens)


def run(thread_id: str, **fields: object) -> Run:
    made = Run(
        id=fresh("run"),
        created_at=NOON,
        assistant_id="asst_1",
        thread_id=thread_id,
        status="queued",
        expires_at=NOON + 600,
        model="m",
        instructions="Be brief.",
        tools=[FunctionTool(function=Function(name="stock", parameters={"type": "object"}))],
        metadata={},
        temperature=1.0,
        top_p=1.0,
        max_completion_tokens=None,
        max_prompt_tokens=None,
        truncation_strategy=Truncation(),
        response_format="auto",
        tool_choice="auto",
        parallel_tool_calls=True,
    )
    return replace(made, **fields)


def settings() -> RunSettings:
    return RunSettings(
        model="m",
        instructions="Be brief.",
        tools=[FunctionTool(function=Function(name="stock", parameters={"type": "object"}))],
        temperature=0.25,
    )


def new_run(thread_id: str, **fields: object) -> NewRun:
    """A queued run with its first two facts."""
    queued = run(thread_id)
    made = NewRun(
        project=PROJECT,
        state=RunState(run=queued),
        settings=settings(),
        facts=[RunFact("thread.run.created", queued), RunFact("thread.run.queued", queued)],
    )
    return replace(made, **fields)


def patient_run(thread_id: str, **fields: object) -> NewRun:
    """The same, which waits where the thread is busy."""
    new = new_run(thread_id, **fields)
    queued = run(thread_id, id=new.state.run.id)
    facts = [RunFact("thread.run.created", queued), RunFact("thread.run.queued", queued)]
    return replace(new, if_busy=Decision(facts, RunState(run=queued)))


def message_step(of: Run, message_id: str) -> RunStep:
    return RunStep(
        id=fresh("step"),
        created_at=NOON,
        run_id=of.id,
        assistant_id=of.assistant_id,
        thread_id=of.thread_id,
        type="message_creation",
        expires_at=of.expires_at,
        step_details=MessageCreation(message_creation=CreatedMessage(message_id=message_id)),
    )


def calls_step(of: Run) -> RunStep:
    return replace(message_step(of, ""), id=fresh("step"), type="tool_calls", step_details=ToolCalls())


def open_message(of: Run) -> Message:
    return Message(
        id=fresh("message"),
        created_at=NOON,
        thread_id=of.thread_id,
        status="in_progress",
        role="assistant",
        content=[],
        assistant_id=of.assistant_id,
        run_id=of.id,
    )


def stored_file(blob: str = "", *, mime_type: str = "text/plain", **fields: object) -> StoredFile:
    """A file whose content is not asked for."""
    made = File(id=fresh("file"), bytes=5, created_at=NOON, filename="a.txt", purpose="assistants")
    return StoredFile(file=replace(made, **fields), blob=blob or fresh("request"), mime_type=mime_type)


def upload(**fields: object) -> StoredUpload:
    made = Upload(
        id=fresh("upload"),
        bytes=10,
        created_at=NOON,
        expires_at=NOON + 3600,
        filename="a.txt",
        purpose="assistants",
    )
    return StoredUpload(upload=replace(made, **fields), mime_type="text/plain")


def stored_part(of: StoredUpload, blob: str = "", *, bytes_: int = 5) -> StoredPart:
    part = UploadPart(id=fresh("part"), created_at=NOON, upload_id=of.upload.id)
    return StoredPart(part=part, blob=Blob(key=blob or fresh("request"), bytes=bytes_, md5="0" * 32))


def with_files(*file_ids: str) -> ToolResources:
    return ToolResources(code_interpreter=CodeInterpreterResources(file_ids=list(file_ids)))


async def add_file(store: Store, project: ProjectId = PROJECT, **fields: object) -> str:
    """The id of a new file."""
    stored = stored_file(**fields)
    await store.expect_blob(stored.blob, until=NOON + 3600)
    await store.add_file(project, stored)
    return stored.file.id


class Life:
    """One run led through its life by hand, append by append: what the machine would decide, written out."""

    def __init__(self, store: Store, new: NewRun, seq: int) -> None:
        self._store = store
        self.state = new.state
        self.seq = seq
        self.released: RunId | None = None
        self.id = RunId(new.state.run.id)

    @classmethod
    async def begin(cls, store: Store, thread_id: str, **fields: object) -> "Life":
        new = new_run(thread_id, **fields)
        return cls(store, new, (await store.add_run(new)).seq)

    @classmethod
    async def queue(cls, store: Store, thread_id: str, **fields: object) -> "Life":
        """Begins, or waits for the thread."""
        new = patient_run(thread_id, **fields)
        return cls(store, new, (await store.add_run(new)).seq)

    @classmethod
    def seen_by(cls, store: Store, life: "Life") -> "Life":
        """The same run, through another process's store."""
        seen = cls(store, new_run(life.thread_id), life.seq)
        seen.state, seen.id = life.state, life.id
        return seen

    @property
    def thread_id(self) -> str:
        return self.state.run.thread_id

    def append(self, after: RunState, facts: Sequence[Fact], **fields: object) -> Append:
        made = Append(run_id=self.id, at=NOON + 2, expected_seq=self.seq, before=self.state, after=after, facts=facts)
        return replace(made, **fields)

    async def go(self, after: RunState, facts: Sequence[Fact], **fields: object) -> None:
        appended = await self._store.append(self.append(after, facts, **fields))
        self.seq, self.state = appended.seq, after
        self.released = appended.released

    async def claim(self, lease: Lease | None = None) -> None:
        working = replace(self.state.run, status="in_progress", started_at=NOON + 1)
        fact = RunFact("thread.run.in_progress", working)
        await self.go(replace(self.state, run=working), [fact], lease="keep" if lease is None else lease)

    async def open_message(self, **fields: object) -> None:
        begun = open_message(self.state.run)
        step = message_step(self.state.run, begun.id)
        facts: list[Fact] = [
            StepFact("thread.run.step.created", step),
            StepFact("thread.run.step.in_progress", step),
            MessageFact("thread.message.created", begun),
            MessageFact("thread.message.in_progress", begun),
        ]
        await self.go(replace(self.state, step=step, message=begun), facts, **fields)

    def completed(self, value: str = "Four.") -> tuple[RunState, list[Fact]]:
        """The open message and step completed and the run with them."""
        usage = Usage(prompt_tokens=31, completion_tokens=2, total_tokens=33)
        assert self.state.message is not None
        assert self.state.step is not None
        said = replace(self.state.message, status="completed", completed_at=NOON + 2, content=[text(value)])
        step = replace(self.state.step, status="completed", completed_at=NOON + 2, usage=usage)
        run_ = replace(self.state.run, status="completed", completed_at=NOON + 2, expires_at=None, usage=usage)
        facts: list[Fact] = [
            MessageFact("thread.message.completed", said),
            StepFact("thread.run.step.completed", step),
            RunFact("thread.run.completed", run_),
        ]
        return RunState(run=run_, progress=Progress(usage=usage, turns=1)), facts

    async def lose(self) -> None:
        """The open step and message go, with the worker that began them."""
        assert self.state.step is not None
        message_ids = () if self.state.message is None else (self.state.message.id,)
        gone = Discarded(step_ids=(self.state.step.id,), message_ids=message_ids)
        await self.go(replace(self.state, step=None, message=None), [gone])

    async def end(self, status: RunStatus = "failed") -> RunId | None:
        """Ends the run as it is, whatever it was doing; the run that has its turn now."""
        ended = replace(self.state.run, status=status)
        await self.go(replace(self.state, run=ended), [], lease=None)
        return self.released

    async def complete(self, value: str = "Four.", tokens: int = 2) -> None:
        after, facts = self.completed(value)
        await self.go(after, facts, lease=None, message_tokens=tokens)


async def claimable(store: Store, now: float = NOON) -> list[RunId]:
    """What a worker may take now: the first of each line, and then runs that were lost."""
    heads = await store.in_line(now, limit=10)
    return [*(head.run_id for head in heads), *await store.lost(now, limit=10)]


async def begun_thread(store: Store, project: ProjectId = PROJECT) -> str:
    made = thread()
    await store.add_thread(project, made, ())
    return made.id
