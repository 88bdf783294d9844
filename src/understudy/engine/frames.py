"""Facts and deltas -> SSE frames, encoded once for all readers."""

from collections.abc import Sequence

import msgspec

from understudy.core.chat.assemble import TextPiece
from understudy.core.chat.deltas import message_delta
from understudy.core.run.state import DISCARDED, Discarded, Fact, MessageFact, RunFact, StepFact
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
    first_seq = last_seq - len(facts) + 1
    return [_fact_frame(seq, fact) for seq, fact in enumerate(facts, first_seq)]


def _fact_frame(seq: int, fact: Fact) -> Frame:
    match fact:
        case RunFact(event=event, run=run):
            return Frame(seq, event, sse(event, _encode(run)))
        case StepFact(event=event, step=step):
            return Frame(seq, event, sse(event, _encode(step)))
        case MessageFact(event=event, message=message):
            return Frame(seq, event, sse(event, _encode(message)))
        case Discarded():
            return Frame(seq, DISCARDED, b"")


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
