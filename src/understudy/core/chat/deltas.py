"""Pieces of a turn as the stream shows them. Shapes and their first-and-later rule: contract section 4.2."""

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
