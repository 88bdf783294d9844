"""A run led to its end by a client that does not give up, while one write of its run goes wrong.

    for number in count(1):
        ordeal = Ordeal(tmp_path / str(number), model, "Hello.", fault="dies", number=number)
        if not await ordeal.go():
            break  # the run had fewer writes than that

The real store, engine and worker over a model server; leases run out as soon as something has gone wrong.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from support.house import PROJECT, FaultyStore, House, open_house
from support.model_server import ScriptedModel
from support.scripted_search import ScriptedSearch, scripted_file_search
from support.store import message, thread
from understudy.bus.memory import MemoryBus
from understudy.core import errors
from understudy.core.ids import RunId
from understudy.core.limits import LEASE_SECONDS
from understudy.core.run.machine import TERMINAL
from understudy.engine.position import Position
from understudy.engine.stream import START, RunStream
from understudy.ports import (
    Append,
    Appended,
    BuiltIn,
    Bus,
    NewRun,
    PageQuery,
    SeqConflict,
    Store,
    StoredRun,
    StoreUnavailable,
    ThreadBusy,
)
from understudy.store.writer import Writer
from understudy.wire.runs import Run

__all__ = ["FAULTS", "Client", "Fault", "Ordeal", "Shown"]

Fault: TypeAlias = Literal["refused", "unheard", "dies", "repeated"]
"""What becomes of the write: it fails; it is done and its caller is told that it failed; it is done and the process is
gone; it is done, and sent once more."""
FAULTS: Final = get_args(Fault)
SHORT: Final = {"renew_seconds": 0.01, "sweep_seconds": 0.01}
_COLUMNS: Final = (
    "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c "
    "WHERE t.type = 'table' AND c.name <> 'lease_until' ORDER BY t.name, c.cid"
)
MANY: Final = PageQuery(limit=100, descending=False)


class MovableClock:
    """Real time, which can be moved on."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def near_the_next_second(self) -> None:
        """A life of one second that begins now is a short one."""
        self._ahead += 0.95 - self() % 1


class StruckStore(FaultyStore):
    """The real store. The write of a run that has this `number` goes wrong; `struck` tells when it did."""

    fault: Fault = "refused"
    number = 0
    struck = False
    dead = False  # its process is gone, so that nobody who waits for it goes on

    def __init__(self, reader: sqlite3.Connection, long_reader: sqlite3.Connection, writer: Writer) -> None:
        super().__init__(reader, long_reader, writer)
        self._writes = 0
        self._one_at_a_time = asyncio.Lock()

    @property
    def writing(self) -> bool:
        return self._one_at_a_time.locked()

    def _check(self) -> None:
        if self.dead:
            raise asyncio.CancelledError

    async def add_run(self, new: NewRun) -> int:
        return await self._suffer(lambda: super(StruckStore, self).add_run(new))

    async def append(self, append: Append, then: Callable[[Appended], None] | None = None) -> int:
        return await self._suffer(lambda: super(StruckStore, self).append(append, then), tells=bool(append.facts))

    async def _suffer(self, write: Callable[[], Awaitable[int]], *, tells: bool = True) -> int:
        async with self._one_at_a_time:
            self._writes += 1
            return await (self._go_wrong(write, tells=tells) if self._writes == self.number else write())

    async def _go_wrong(self, write: Callable[[], Awaitable[int]], *, tells: bool) -> int:
        self.struck = True
        if self.fault == "refused":
            raise StoreUnavailable("The disk is full.")
        seq = await write()
        match self.fault:
            case "unheard":
                raise StoreUnavailable("The disk's answer was lost.")
            case "dies":
                self.dead = True
                raise asyncio.CancelledError
        await self._repeat(write, tells=tells)
        return seq

    async def _repeat(self, write: Callable[[], Awaitable[int]], *, tells: bool) -> None:
        before = self.everything()
        refused: Exception | None = None
        try:
            await write()
        except Exception as error:
            refused = error
        # The first write of a run has no number to go by: its rows' own keys refuse it. One without a fact moves no
        # number on, and writes what is there already.
        if tells or refused is not None:
            assert isinstance(refused, SeqConflict | sqlite3.IntegrityError), f"the same write again: {refused!r}"
        assert self.everything() == before

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """All rows of all tables, but for the time of a lease: it is renewed meanwhile."""
        columns: dict[str, list[str]] = {}
        for table, column in self._reader.execute(_COLUMNS):
            columns.setdefault(table, []).append(column)
        return {
            name: self._reader.execute(f"SELECT {', '.join(of)} FROM {name}").fetchall() for name, of in columns.items()
        }


class Client(Struct, frozen=True, kw_only=True):
    """What the client asks for, and what it does when it can."""

    asks: str
    fields: dict[str, Any] = {}
    lifetime_seconds: int = 600
    answers_calls: bool = True
    cancels: Literal["never", "mid-text", "mid-search", "waiting"] = "never"


class Shown(Struct, frozen=True):
    """One event that a reader of the stream was sent."""

    id: str
    name: str
    data: dict[str, Any]


class Ordeal:
    """One run, from its client's wish to its end. `house` is the process that is alive at the end."""

    house: House
    run: Run

    def __init__(self, directory: Path, model: ScriptedModel, client: Client, *, fault: Fault, number: int) -> None:
        self._directory = directory
        self._model = model
        self._client = client
        self._fault: Fault = fault
        self._number = number
        self._thread = thread()
        self._clock = MovableClock()
        self._reader: asyncio.Task[None] | None = None
        self.shown: list[Shown] = []
        self.begun_anew = False  # a reader was told that what it had seen was discarded

    @contextlib.asynccontextmanager
    async def survived(self) -> AsyncIterator[bool]:
        """Goes through it. Whether something went wrong: if not, the run has fewer writes than `number`."""
        self._directory.mkdir()
        async with contextlib.AsyncExitStack() as houses:
            self.house = await houses.enter_async_context(self._open("w1"))
            store = self._store
            store.fault, store.number = self._fault, self._number
            await store.add_thread(PROJECT, self._thread, [message(self._thread.id, self._client.asks)])
            async with asyncio.timeout(10):
                await self._live(store, houses)
                await (self._reader or self._read())
            yield store.struck

    async def _live(self, store: StruckStore, houses: contextlib.AsyncExitStack) -> None:
        while True:
            if store.dead and self.house.store is store:
                await self._move_house(houses)
            try:
                if await self._is_over() and not store.writing:
                    return
            except (StoreUnavailable, ThreadBusy, errors.ApiError):
                pass  # a client that is told of a failure, or that things are not as it thought, looks and tries again
            except asyncio.CancelledError:
                if not store.dead or self.house.store is not store:
                    raise
            await asyncio.sleep(0.001)

    async def _is_over(self) -> bool:
        stored = await self._newest_run()
        if stored is not None:
            self._let_lease_run_out(stored)
            if self._is_led(stored.state.run):
                return True
        await self._act(stored)
        return False

    def _let_lease_run_out(self, stored: StoredRun) -> None:
        """As it does some time after its worker has failed to write."""
        held = stored.lease is not None and stored.lease.until > self._clock()
        if held and RunId(stored.state.run.id) not in self.house.worker._working:
            self._clock.advance(LEASE_SECONDS + 1)

    async def _move_house(self, houses: contextlib.AsyncExitStack) -> None:
        await self.house.stop()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            self._reader = None
        self.house = await houses.enter_async_context(self._open("w2"))

    def _open(self, owner: str) -> contextlib.AbstractAsyncContextManager[House]:
        return open_house(
            self._directory,
            self._model,
            owner=owner,
            clock=self._clock,
            store=StruckStore,
            tools=self._tools,
            **SHORT,
        )

    def _tools(self, store: Store) -> Sequence[BuiltIn]:
        """A search that finds nothing, or that is still searching when its run is cancelled."""
        search = ScriptedSearch()
        search.gate = asyncio.Event() if self._client.cancels == "mid-search" else None
        return [scripted_file_search(store, search)]

    @property
    def _store(self) -> StruckStore:
        assert isinstance(self.house.store, StruckStore)
        return self.house.store

    # --- the client

    async def _newest_run(self) -> StoredRun | None:
        found = await self.house.store.page("run", PROJECT, self._thread.id, MANY)
        assert len(found.ids) <= 1, "two runs for one wish"
        return await self.house.store.run(RunId(found.ids[0])) if found.ids else None

    def _is_led(self, run: Run) -> bool:
        """Whether the client has nothing left to do."""
        self.run = run
        waits = run.status == "requires_action" and not self._client.answers_calls and self._client.cancels == "never"
        return waits or run.status in TERMINAL

    async def _act(self, stored: StoredRun | None) -> None:
        if stored is None:
            if self._client.lifetime_seconds < 2:
                self._clock.near_the_next_second()
            await self.house.start_run(
                self._thread.id,
                lifetime_seconds=self._client.lifetime_seconds,
                vector_stores=["vs_A"],
                **self._client.fields,
            )
            return
        run = stored.state.run
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        if run.required_action is not None and self._client.answers_calls:
            calls = run.required_action.submit_tool_outputs.tool_calls
            await self.house.submit(run, **{call.id: f"output of {call.function.name}" for call in calls})
        elif self._client.cancels == where(stored):
            await self.house.cancel(run)

    # --- the reader of its stream, which goes on where its connection broke

    async def _read(self) -> None:
        bus = self.house.bus
        while not (self.shown and self._is_last(self.shown[-1])):
            if not await self._follow(self.house.store, bus, self.shown):
                self.begun_anew = True
                self.shown.clear()

    async def retold(self) -> list[Shown]:
        """The stream from the beginning, as a process tells it that has only the log."""
        bus, told = MemoryBus(self._clock), list[Shown]()
        while not (told and self._is_last(told[-1])):
            assert await self._follow(self.house.store, bus, told)
        return told

    async def _follow(self, store: Store, bus: Bus, told: list[Shown]) -> bool:
        """Adds what a stream tells behind that; False when it says that some of it was discarded."""
        last = Position.parse(told[-1].id) if told else START
        assert last is not None
        stream = RunStream(store, bus, RunId(self.run.id), after=last)
        try:
            while frames := await stream.next():
                told += map(shown, frames)
        finally:
            stream.close()
        assert stream.finished or stream.begun_anew, "the stream was closed"
        return stream.finished

    def _is_last(self, last: Shown) -> bool:
        return last.data["object"] == "thread.run" and self._is_led(msgspec.convert(last.data, Run))


def where(stored: StoredRun) -> str | None:
    """The place in which a client may wait to cancel a run."""
    if stored.state.run.status == "requires_action":
        return "waiting"
    if stored.state.run.status != "in_progress" or stored.state.step is None:
        return None
    return "mid-text" if stored.state.message is not None else "mid-search"


def shown(frame: bytes) -> Shown:
    id_, name, text = (line.partition(b": ")[2] for line in frame.rstrip().split(b"\n"))
    return Shown(id_.decode(), name.decode(), msgspec.json.decode(text))
