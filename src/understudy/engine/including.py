"""A run's stream for a reader who asked to have the results' content included in the steps."""

from collections.abc import Callable, Sequence
from typing import Final, get_args

import msgspec

from understudy.core.ids import RunId
from understudy.core.included import with_content
from understudy.engine.frames import sse_object
from understudy.engine.position import Position
from understudy.engine.stream import START, RunStream
from understudy.ports import Bus, Store
from understudy.wire.events import StepEvent
from understudy.wire.steps import RunStep

_STEPS: Final = frozenset(name.encode() for name in get_args(StepEvent))


class IncludingStream(RunStream):
    """Frames are encoded once for all readers, so those of steps with results are made anew for this one."""

    def __init__(self, store: Store, bus: Bus, run_id: RunId, *, after: Position = START) -> None:
        super().__init__(store, bus, run_id, after=after)
        self._rows = store
        self._run = run_id

    async def next(self, write: Callable[[bytes], bool] | None = None) -> Sequence[bytes]:  # noqa: ARG002
        # Nothing is written past this reader, which has to look at every frame.
        return [await self._included(frame) for frame in await super().next()]

    async def _included(self, frame: bytes) -> bytes:
        id_line, event_line, payload, *_ = frame.split(b"\n", 3)
        event = event_line.removeprefix(b"event: ")
        if event not in _STEPS or b'"file_search"' not in payload:
            return frame
        step = msgspec.json.decode(payload.removeprefix(b"data: "), type=RunStep)
        notes = await self._rows.notes(self._run)
        return id_line + b"\n" + sse_object(event.decode(), with_content(step, notes.get(step.id, {})))
