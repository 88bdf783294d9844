"""The server without its HTTP edge: the real store, bus, engine and worker over a model server, put together by hand.

    async with open_house(tmp_path, model) as house:
        run = await house.start_run()
        await house.until(run.id, "completed")

Two houses on one directory are two processes on one database.
"""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from support.model_server import ScriptedModel
from support.store import assistant, message, thread
from support.talk import polled
from understudy import entropy
from understudy.blobs.local import open_local_blobs
from understudy.bus.memory import MemoryBus
from understudy.core.ids import ProjectId, RunId, ThreadId
from understudy.core.run.defaults import new_run, run_settings
from understudy.engine.bounds import RunBounds
from understudy.engine.files import Files
from understudy.engine.images import Images
from understudy.engine.journal import Journal
from understudy.engine.run_loop import RunLoop
from understudy.engine.runs import Runs
from understudy.engine.stream import RunStream
from understudy.engine.sweep import Sweep
from understudy.engine.tools import Tools
from understudy.models.http import HttpModels
from understudy.models.upstream import Upstream
from understudy.ports import Blobs, Bounds, BuiltIn, Clock, Lease, LoggedFact, Store, StoredRun, StoreUnavailable
from understudy.store.operations import Op
from understudy.store.sqlite import SqliteStore, open_sqlite
from understudy.tokens import SplintrTokens
from understudy.wire.messages import Message, TextPart
from understudy.wire.runs import CreateRun, Run, ToolOutput
from understudy.wire.tools import FileSearchResources, FunctionBody, FunctionToolBody, ToolResources
from understudy.worker.worker import Worker

__all__ = ["PROJECT", "WEATHER", "FaultyStore", "House", "open_house", "thread_id"]

T = TypeVar("T")

PROJECT = ProjectId("proj_a")
WEATHER = FunctionToolBody(function=FunctionBody(name="weather"))


class FaultyStore(SqliteStore):
    """The real store, which can neither read nor write while it is `broken`."""

    broken = False

    async def _read(self, operation: Op[T]) -> T:
        self._check()
        return await super()._read(operation)

    async def _write(
        self, operation: Callable[[], Op[T]], then: Callable[[T], None] | None = None, *, about: str | None = None
    ) -> T:
        self._check()
        return await super()._write(operation, then, about=about)

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("The disk is gone.")


class House:
    """One process. Nobody works on its runs until `open()`."""

    def __init__(
        self,
        store: FaultyStore,
        blobs: Blobs,
        models: HttpModels,
        *,
        places: int,
        owner: str,
        clock: Clock,
        tools: Tools,
        bounds: Bounds | None = None,
        **seconds: float,
    ) -> None:
        shares = RunBounds(bounds, lambda _: "upstream")
        self._works = False
        self.clock = clock
        self.store = store
        self.bus = MemoryBus(self.clock)
        self.models = models
        self.files = Files(store, blobs, self.clock, entropy.new_id)
        self.journal = Journal(store, self.bus, self.clock)
        self.worker = Worker(
            store, self.journal, self.bus, self.clock, owner=owner, places=places, bounds=shares, **seconds
        )
        self.runs = Runs(store, self.journal, self.bus, self.worker, self.clock, shares)
        self.loop = RunLoop(
            store,
            self.journal,
            self.bus,
            models,
            tokens(),
            tools,
            Images(store, self.files, self.clock),
            clock=self.clock,
            new_id=entropy.new_id,
            retry_seconds=0.01,
        )

    def open(self) -> None:
        """Its worker begins."""
        self._works = True
        self.worker.start(self.loop, Sweep(self.store, self.runs, self.files, self.clock))

    async def stop(self) -> None:
        """Its worker ends as that of a process does that is asked to."""
        if self._works:
            self._works = False
            await self.worker.stop()

    async def die(self) -> None:
        """Its worker is gone from one moment to the next, as that of a killed process: nothing is tidied up."""
        self.store.broken = True
        await self.stop()

    async def close(self) -> None:
        await self.stop()
        await self.models.close()
        await self.bus.close()
        await self.store.close()

    async def start_run(
        self,
        thread_id: str | None = None,
        *,
        project: ProjectId = PROJECT,
        lifetime_seconds: int = 600,
        asks: str = "What is 2+2?",
        vector_stores: Sequence[str] = (),
        **fields: Any,
    ) -> Run:
        """A run, on a new thread with one message unless there is one already. `fields` are those of a request.

        `vector_stores` are the assistant's.
        """
        hired = assistant()
        if vector_stores:
            resources = ToolResources(file_search=FileSearchResources(vector_store_ids=[*vector_stores]))
            hired = replace(hired, assistant=replace(hired.assistant, tool_resources=resources))
        body = CreateRun(assistant_id=hired.assistant.id, **fields)
        made = thread() if thread_id is None else None
        if made is not None:
            thread_id = made.id
            await self.store.add_thread(project, made, [message(made.id, asks)])
        assert thread_id is not None
        settings = run_settings(hired.assistant, body, assistant_temperature=None, assistant_top_p=None)
        run = new_run(
            body,
            settings,
            run_id=entropy.new_id("run"),
            thread_id=thread_id,
            at=int(self.clock()),
            lifetime_seconds=lifetime_seconds,
        )
        return (await self.runs.start(project, run, settings)).run

    async def submit(self, run: Run, **outputs: str) -> Run:
        answers = tuple(ToolOutput(tool_call_id=call_id, output=output) for call_id, output in outputs.items())
        return (await self.runs.submit(PROJECT, run.thread_id, run.id, answers)).run

    async def cancel(self, run: Run) -> Run:
        return await self.runs.cancel(PROJECT, run.thread_id, run.id)

    async def stored(self, run: Run) -> StoredRun:
        found = await self.store.run(RunId(run.id))
        assert found is not None
        return found

    async def until(self, run: Run, *statuses: str, seconds: float = 5.0) -> Run:
        """The run as stored once it has one of these statuses."""

        async def look() -> Run | None:
            found = (await self.stored(run)).state.run
            return found if found.status in statuses else None

        return await polled(look, seconds=seconds)

    async def until_it_speaks(self, run: Run) -> Message:
        """The run's open message."""

        async def look() -> Message | None:
            return (await self.stored(run)).state.message

        return await polled(look)

    async def lease(self, run: Run) -> Lease:
        lease = (await self.stored(run)).lease
        assert lease is not None
        return lease

    async def facts(self, run: Run) -> Sequence[LoggedFact]:
        return await self.store.facts(RunId(run.id), after_seq=0, limit=1000)

    async def said(self, run: Run) -> list[str]:
        """The texts of the run's messages that have ended, oldest first."""
        found = await self.store.recent_messages(thread_id(run), before=None, limit=100)
        parts = [part for one in found[::-1] if one.message.run_id == run.id for part in one.message.content]
        return [part.text.value for part in parts if isinstance(part, TextPart)]

    def stream(self, run: Run) -> RunStream:
        return RunStream(self.store, self.bus, RunId(run.id))


@functools.cache
def tokens() -> SplintrTokens:
    """For all houses: reading its tables takes a while."""
    return SplintrTokens()


def thread_id(run: Run) -> ThreadId:
    return ThreadId(run.thread_id)


@asynccontextmanager
async def open_house(
    directory: Path,
    model: ScriptedModel,
    *,
    works: bool = True,
    places: int = 8,
    owner: str = "w1",
    clock: Clock = entropy.now,
    store: type[FaultyStore] = FaultyStore,
    tools: Callable[[Store], Sequence[BuiltIn]] = lambda _: (),
    bounds: Bounds | None = None,
    **seconds: float,
) -> AsyncIterator[House]:
    """A house over this model server. `works=False`: nobody does until `open()`. `seconds` are the worker's.

    `store` may misbehave further.
    """
    real = await open_sqlite(directory / "understudy.db")
    opened = store(real._reader, real._long_reader, real._writer)
    models = HttpModels(Upstream(name="upstream", base_url=model.base_url))
    blobs = await open_local_blobs(directory / "files")
    house = House(
        opened,
        blobs,
        models,
        places=places,
        owner=owner,
        clock=clock,
        tools=Tools(tools(opened)),
        bounds=bounds,
        **seconds,
    )
    if works:
        house.open()
    try:
        yield house
    finally:
        await house.close()
