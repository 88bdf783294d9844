"""Pieces of a turn as the stream shows them. Shapes and their first-and-later rule: contract section 4.2."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from understudy.core.chat.assemble import ImagePiece, RefusalPiece, TextPiece
from understudy.core.chat.step_calls import whole_call
from understudy.wire.deltas import (
    CallDelta,
    ContentDelta,
    FileCitationDelta,
    FilePathDelta,
    ImageFileDelta,
    MessageDelta,
    RefusalDelta,
    RunStepDelta,
    StepDetailsDelta,
    TextDelta,
    TextDeltaValue,
    ToolCallsDelta,
)
from understudy.wire.messages import (
    Annotation,
    FileCitation,
    FilePath,
    ImageFilePart,
    ImageUrlPart,
    Message,
    RefusalPart,
    TextPart,
)
from understudy.wire.steps import ToolCall


def message_delta(message_id: str, piece: TextPiece | RefusalPiece | ImagePiece) -> MessageDelta:
    match piece:
        case TextPiece(value=value, index=index, first=first):
            annotations: list[FileCitationDelta | FilePathDelta] | UnsetType = _annotations(piece)
            text = TextDeltaValue(
                value=value if value or not annotations else UNSET,
                annotations=annotations if annotations or first else UNSET,
            )
            part: TextDelta | RefusalDelta | ImageFileDelta = TextDelta(index=index, text=text)
        case RefusalPiece(value=value, index=index):
            part = RefusalDelta(index=index, refusal=value)
        case ImagePiece(index=index, image=image):
            part = ImageFileDelta(index=index, image_file=image)
    return MessageDelta(id=message_id, delta=ContentDelta(content=[part]))


def _annotations(piece: TextPiece) -> list[FileCitationDelta | FilePathDelta]:
    """Numbered over their part."""
    return [_annotation(number, one) for number, one in enumerate(piece.annotations, piece.annotated)]


def _annotation(index: int, annotation: Annotation) -> FileCitationDelta | FilePathDelta:
    text, start, end = annotation.text, annotation.start_index, annotation.end_index
    match annotation:
        case FileCitation(file_citation=target):
            return FileCitationDelta(index=index, text=text, start_index=start, end_index=end, file_citation=target)
        case FilePath(file_path=path):
            return FilePathDelta(index=index, text=text, start_index=start, end_index=end, file_path=path)


def empty_text_delta(message_id: str) -> MessageDelta:
    """The one delta of a message without text: the Python SDK fails on a message that had none at all."""
    return message_delta(message_id, TextPiece(value="", index=0, first=True))


def step_delta(step_id: str, *calls: CallDelta) -> RunStepDelta:
    return RunStepDelta(id=step_id, delta=StepDetailsDelta(step_details=ToolCallsDelta(tool_calls=[*calls])))


def whole_message_deltas(message: Message) -> list[MessageDelta]:
    """One delta for each part, for readers that come after the message has ended; at least one for any message."""
    deltas = []
    for index, part in enumerate(message.content):
        match part:
            case TextPart(text=text):
                piece = TextPiece(text.value, index, first=True, annotations=text.annotations)
                deltas.append(message_delta(message.id, piece))
            case RefusalPart(refusal=refusal):
                deltas.append(message_delta(message.id, RefusalPiece(refusal, index, first=True)))
            case ImageFilePart(image_file=image):
                deltas.append(message_delta(message.id, ImagePiece(index, image)))
            case ImageUrlPart():
                pass  # nothing that a run writes
    return deltas or [empty_text_delta(message.id)]


def whole_calls_deltas(step_id: str, calls: Sequence[ToolCall]) -> list[RunStepDelta]:
    """What a step's calls were told in: of a function its name, then all of its arguments; of a tool what it has."""
    return [step_delta(step_id, delta) for index, call in enumerate(calls) for delta in whole_call(index, call)]
