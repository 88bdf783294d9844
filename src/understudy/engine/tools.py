"""The calls of built-in tools that a model made: made here, one after the other, while the run stays in progress."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from msgspec import Struct

from understudy.core.chat.citations import Citable
from understudy.core.chat.context import Window
from understudy.core.chat.made import made_files
from understudy.core.chat.offers import BuiltInKind, Offer, built_in_kinds, offers
from understudy.core.ids import ProjectId
from understudy.core.run.inputs import ToolsFinished
from understudy.core.run.state import Note, RunSettings
from understudy.engine.reply import HeldRun, Reply
from understudy.ports import BuiltIn, ToolContext
from understudy.wire.runs import Run
from understudy.wire.steps import ImageOutput, LogsOutput
from understudy.wire.tools import ToolResources

Notes: TypeAlias = Mapping[str, Mapping[str, Note]]


class Room(Struct, frozen=True, kw_only=True):
    """What the model can be told: about `tokens`, as `count` counts them, of a window of `context_window_tokens`."""

    tokens: int
    context_window_tokens: int
    count: Callable[[str], int]


class Tools:
    """The built-in tools that this server has."""

    def __init__(self, built_in: Sequence[BuiltIn] = (), *, citation_details: bool = False) -> None:
        """`citation_details`: annotations also carry what is quoted, and from where."""
        self._by_kind: dict[BuiltInKind, BuiltIn] = {tool.kind: tool for tool in built_in}
        self._citation_details = citation_details

    def missing(self, settings: RunSettings) -> BuiltInKind | None:
        """The first tool of a run that nothing here can do."""
        return next((kind for kind in built_in_kinds(settings) if kind not in self._by_kind), None)

    async def offers(self, project: ProjectId, run: Run, settings: RunSettings) -> Sequence[Offer]:
        """None may be missing."""
        kinds = built_in_kinds(settings)
        return offers(settings, {kind: await self._by_kind[kind].function(project, run, settings) for kind in kinds})

    def citable(self, settings: RunSettings, notes: Notes) -> Citable | None:
        """What the run's model may cite; `None`: it was never asked to, so nothing that it writes is a citation."""
        if "file_search" not in built_in_kinds(settings):
            return None
        told = [note for of_step in notes.values() for note in of_step.values()]
        return Citable(told, details=self._citation_details)

    def made(self, settings: RunSettings, window: Window, notes: Notes) -> Mapping[str, str]:
        """The files of the sandbox that the run's model may point to, by their paths there."""
        if "code_interpreter" not in built_in_kinds(settings):
            return {}
        return made_files((entry.message for entry in window.recent), notes)

    async def check(self, project: ProjectId, settings: RunSettings, thread_resources: ToolResources) -> None:
        """Raises `errors.ApiError` for a new run that could not use its tools."""
        for tool in self._of(settings):
            await tool.check(project, settings, thread_resources)

    async def prepare(self, project: ProjectId, run: Run, settings: RunSettings) -> None:
        """Before a run's first turn. Raises `ToolFailed`."""
        for tool in self._of(settings):
            await tool.prepare(project, run, settings)

    async def answer(self, held: HeldRun, reply: Reply, room: Room) -> None:
        """Makes the calls of the model's turn, and appends what came of them.

        Raises `ToolFailed`, `CalledAway`, and what an append raises.
        """
        notes: dict[str, Note] = {}
        try:
            await self._make_calls(held, reply, room, notes)
        except asyncio.CancelledError:
            # This worker is to end, and the next one begins the turn anew.
            await asyncio.shield(self._take_back(held, reply, notes))
            raise
        await held.append(ToolsFinished(at=held.now(), calls=reply.shown_calls), notes=notes)

    async def _make_calls(self, held: HeldRun, reply: Reply, room: Room, notes: dict[str, Note]) -> None:
        tokens, sources = room.tokens, 0
        for index, call in enumerate(reply.turn.calls):
            kind = reply.calls.kind(call)
            if kind is None:
                continue
            context = ToolContext(
                project=held.stored.project,
                run=held.run,
                settings=held.stored.settings,
                turn=held.stored.state.progress.turns - 1,
                first_source=sources,
                room_tokens=max(tokens, 0),
                context_window_tokens=room.context_window_tokens,
                count=room.count,
            )

            def emit(output: LogsOutput | ImageOutput, index: int = index) -> None:
                reply.show_call(reply.calls.add_output(index, output))

            outcome = await held.attention.wait(partial(self._by_kind[kind].call, context, call, emit))
            reply.calls.put(index, outcome.call)
            notes[call.id] = outcome.note
            sources += len(outcome.note.sources)
            tokens -= room.count(outcome.note.output)

    async def _take_back(self, held: HeldRun, reply: Reply, notes: Mapping[str, Note]) -> None:
        for made, shown in zip(reply.turn.calls, reply.shown_calls, strict=True):
            kind = reply.calls.kind(made)
            if kind is not None:
                await self._by_kind[kind].take_back(held.stored.project, shown, notes.get(made.id))

    async def leave(self, project: ProjectId, thread_id: str) -> None:
        """The thread was deleted: what the tools keep for it goes."""
        for tool in self._by_kind.values():
            await tool.leave(project, thread_id)

    async def close(self) -> None:
        """Returns when nothing of the tools is under way any more."""
        for tool in self._by_kind.values():
            await tool.close()

    def _of(self, settings: RunSettings) -> Sequence[BuiltIn]:
        return [self._by_kind[kind] for kind in built_in_kinds(settings) if kind in self._by_kind]
