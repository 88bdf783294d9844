"""Pieces of a turn as the stream shows them. Shapes and their first-and-later rule: contract section 4.2."""

from collections.abc import Sequence

from understudy.core.chat.assemble import CallArguments, CallStarted, RefusalPiece, TextPiece
from understudy.wire.deltas import (
    ContentDelta,
    FunctionCallDelta,
    FunctionDeltaValue,
    MessageDelta,
    RefusalDelta,
    RunStepDelta,
    StepDetailsDelta,
    TextDelta,
    TextDeltaValue,
    ToolCallsDelta,
)
from understudy.wire.messages import ImageFilePart, ImageUrlPart, Message, RefusalPart, TextPart
from understudy.wire.steps import FunctionCall


def message_delta(message_id: str, piece: TextPiece | RefusalPiece) -> MessageDelta:
    match piece:
        case TextPiece(value=value, index=index, first=True):
            part: TextDelta | RefusalDelta = TextDelta(index=index, text=TextDeltaValue(value=value, annotations=[]))
        case TextPiece(value=value, index=index):
            part = TextDelta(index=index, text=TextDeltaValue(value=value))
        case RefusalPiece(value=value, index=index):
            part = RefusalDelta(index=index, refusal=value)
    return MessageDelta(id=message_id, delta=ContentDelta(content=[part]))


def empty_text_delta(message_id: str) -> MessageDelta:
    """The one delta of a message without text: the Python SDK fails on a message that had none at all."""
    return message_delta(message_id, TextPiece(value="", index=0, first=True))


def step_delta(step_id: str, piece: CallStarted | CallArguments) -> RunStepDelta:
    match piece:
        case CallStarted(index=index, id=call_id, name=name):
            call = FunctionCallDelta(
                index=index, id=call_id, function=FunctionDeltaValue(name=name, arguments="", output=None)
            )
        case CallArguments(index=index, arguments=arguments):
            call = FunctionCallDelta(index=index, function=FunctionDeltaValue(arguments=arguments))
    return RunStepDelta(id=step_id, delta=StepDetailsDelta(step_details=ToolCallsDelta(tool_calls=[call])))


def whole_message_deltas(message: Message) -> list[MessageDelta]:
    """One delta for each part, for readers that come after the message has ended; at least one for any message."""
    deltas = []
    for index, part in enumerate(message.content):
        match part:
            case TextPart(text=text):
                deltas.append(message_delta(message.id, TextPiece(text.value, index, first=True)))
            case RefusalPart(refusal=refusal):
                deltas.append(message_delta(message.id, RefusalPiece(refusal, index, first=True)))
            case ImageUrlPart() | ImageFilePart():
                pass  # nothing that a model writes yet
    return deltas or [empty_text_delta(message.id)]


def whole_calls_deltas(step_id: str, calls: Sequence[FunctionCall]) -> list[RunStepDelta]:
    """What a step's calls were told in, each in two deltas: its name, then all of its arguments."""
    return [
        step_delta(step_id, piece)
        for index, call in enumerate(calls)
        for piece in (
            CallStarted(index, call.id, call.function.name),
            CallArguments(index, call.function.arguments),
        )
    ]
