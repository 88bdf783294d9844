"""Facts and deltas -> SSE frames, encoded once for all readers."""

from collections.abc import Sequence

import msgspec

from understudy.core.chat.assemble import TextPiece
from understudy.core.chat.deltas import message_delta
from understudy.core.run.state import DISCARDED, Discarded, Fact, shown_by
from understudy.ports import Frame, LoggedFact
from understudy.wire.base import Object
from understudy.wire.deltas import Delta, MessageDelta

_encode = msgspec.json.Encoder().encode

DONE = b"event: done\ndata: [DONE]\n\n"


def sse(event: str, json: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), json)


def sse_object(event: str, shown: Object) -> bytes:
    return sse(event, _encode(shown))


def sse_error(envelope: bytes) -> bytes:
    return sse("error", envelope)


def fact_frames(facts: Sequence[Fact], last_seq: int) -> list[Frame]:
    """The facts of one append as frames; the last of them has the number `last_seq`."""
    frames: list[Frame] = []
    shown: Object | None = None
    json = b""
    for seq, fact in enumerate(facts, last_seq - len(facts) + 1):
        if isinstance(fact, Discarded):
            frames.append(Frame(seq, DISCARDED, b""))
            continue
        told, shown = shown, shown_by(fact)
        if shown is not told:  # what was created is in progress as it is
            json = _encode(shown)
        frames.append(Frame(seq, fact.event, sse(fact.event, json)))
    return frames


def logged_frame(fact: LoggedFact) -> Frame:
    if fact.event == DISCARDED:
        return Frame(fact.seq, DISCARDED, b"")
    return Frame(fact.seq, fact.event, sse(fact.event, fact.data))


def delta_frame(delta: Delta) -> Frame:
    event = "thread.message.delta" if isinstance(delta, MessageDelta) else "thread.run.step.delta"
    return Frame(None, event, sse(event, _encode(delta)))


class TextFrames:
    """The deltas of one text of a message, behind its first one. What all of them repeat is encoded once."""

    def __init__(self, message_id: str, index: int) -> None:
        mark = "\x00"  # as no other field of a delta has it
        frame = delta_frame(message_delta(message_id, TextPiece(mark, index, first=False)))
        self._event = frame.event
        self._before, self._after = frame.data.split(_encode(mark))

    def frame(self, value: str) -> Frame:
        return Frame(None, self._event, self._before + _encode(value) + self._after)
