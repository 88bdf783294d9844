"""The server without its HTTP edge: the real store, bus, engine and worker over a model server, put together by hand.

    async with open_house(tmp_path, model) as house:
        run = await house.start_run()
        await house.until(run.id, "completed")

Two houses on one directory are two processes on one database.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from support.store import assistant, message, thread
from understudy import entropy
from understudy.bus.memory import MemoryBus
from understudy.core.ids import ProjectId, RunId
from understudy.core.run.defaults import new_run, run_settings
from understudy.engine.journal import Journal
from understudy.engine.run_loop import RunLoop
from understudy.engine.runs import Runs
from understudy.engine.stream import RunStream
from understudy.engine.sweep import Sweep
from understudy.models.http import HttpModels
from understudy.ports import LoggedFact, StoredRun
from understudy.store.sqlite import SqliteStore
from understudy.tokens import SplintrTokens
from understudy.wire.messages import Message, TextPart
from understudy.wire.runs import CreateRun, Run, ToolOutput
from understudy.wire.tools import FunctionBody, FunctionToolBody
from understudy.worker.worker import Worker

__all__ = ["PROJECT", "WEATHER", "House", "open_house"]

PROJECT = ProjectId("proj_a")
WEATHER = FunctionToolBody(function=FunctionBody(name="weather"))


class House:
    """One process. Nobody works on its runs until `open()`."""

    def __init__(self, store: SqliteStore, models: HttpModels, *, places: int, owner: str, **seconds: float) -> None:
        self.clock = entropy.now
        self.store = store
        self.bus = MemoryBus(self.clock)
        self.models = models
        self.journal = Journal(store, self.bus)
        self.worker = Worker(store, self.journal, self.bus, self.clock, owner=owner, places=places, **seconds)
        self.runs = Runs(store, self.journal, self.bus, self.worker, self.clock)
        self.loop = RunLoop(
            store,
            self.journal,
            self.bus,
            models,
            SplintrTokens(),
            clock=self.clock,
            new_id=entropy.new_id,
            retry_seconds=0.01,
        )

    def open(self) -> None:
        self.worker.start(self.loop, Sweep(self.store, self.runs, self.clock))

    async def start_run(self, thread_id: str | None = None, *, lifetime_seconds: int = 600, **fields: Any) -> Run:
        """A run, on a new thread with one message unless there is one already. `fields` are those of a request."""
        hired = assistant()
        body = CreateRun(assistant_id=hired.assistant.id, **fields)
        made = thread() if thread_id is None else None
        if made is not None:
            thread_id = made.id
            await self.store.add_thread(PROJECT, made, [message(made.id, "What is 2+2?")])
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
        return (await self.runs.start(PROJECT, run, settings)).run

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
        async with asyncio.timeout(seconds):
            while True:
                found = (await self.stored(run)).state.run
                if found.status in statuses:
                    return found
                await asyncio.sleep(0.002)

    async def until_it_speaks(self, run: Run, *, seconds: float = 5.0) -> Message:
        """The run's open message."""
        async with asyncio.timeout(seconds):
            while (open_message := (await self.stored(run)).state.message) is None:
                await asyncio.sleep(0.002)
            return open_message

    async def facts(self, run: Run) -> Sequence[LoggedFact]:
        return await self.store.facts(RunId(run.id), after_seq=0, limit=1000)

    async def said(self, run: Run) -> list[str]:
        """The texts of the run's messages that have ended, oldest first."""
        found = await self.store.recent_messages(thread_id(run), before_seq=None, limit=100)
        parts = [part for one in found[::-1] if one.message.run_id == run.id for part in one.message.content]
        return [part.text.value for part in parts if isinstance(part, TextPart)]

    def stream(self, run: Run, *, after_seq: int = 0) -> RunStream:
        return RunStream(self.store, self.bus, RunId(run.id), after_seq=after_seq)
