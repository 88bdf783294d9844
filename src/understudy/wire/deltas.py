"""What streams while a step grows. Shapes and their first-and-later rule: contract section 4.2.

Clients concatenate strings, add numbers and merge lists by `index`, so `id`, `name` and `annotations: []` are sent
once per index and never again.
"""

from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from understudy.wire.base import Object
from understudy.wire.messages import FileCitationTarget, FilePathTarget, ImageFile
from understudy.wire.steps import ImageOutputFile


class FileCitationDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="file_citation"):
    index: int
    text: str
    start_index: int
    end_index: int
    file_citation: FileCitationTarget


class FilePathDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="file_path"):
    index: int
    text: str
    start_index: int
    end_index: int
    file_path: FilePathTarget


class TextDeltaValue(Object, frozen=True, kw_only=True):
    """Annotations come with the piece of text that their markers are in."""

    value: str | UnsetType = UNSET
    annotations: list[FileCitationDelta | FilePathDelta] | UnsetType = UNSET


class TextDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="text"):
    index: int
    text: TextDeltaValue


class RefusalDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    index: int
    refusal: str


class ImageFileDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="image_file"):
    """Whole in one delta."""

    index: int
    image_file: ImageFile


class ContentDelta(Object, frozen=True, kw_only=True):
    content: list[TextDelta | RefusalDelta | ImageFileDelta]


class MessageDelta(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread.message.delta"] = "thread.message.delta"
    delta: ContentDelta


class FunctionDeltaValue(Object, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    arguments: str
    output: UnsetType | None = UNSET


class FunctionCallDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="function"):
    index: int
    id: str | UnsetType = UNSET
    function: FunctionDeltaValue


class NoDeltaValue(Object, frozen=True, kw_only=True):
    """`{}`: "always an empty object", as the specification has it; what was found is in the completed step."""


class FileSearchCallDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    index: int
    id: str
    file_search: NoDeltaValue = NoDeltaValue()


class LogsOutputDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="logs"):
    index: int
    logs: str


class ImageOutputDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="image"):
    index: int
    image: ImageOutputFile


class CodeDeltaValue(Object, frozen=True, kw_only=True):
    input: str | UnsetType = UNSET
    outputs: list[LogsOutputDelta | ImageOutputDelta] | UnsetType = UNSET


class CodeInterpreterCallDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="code_interpreter"):
    index: int
    id: str | UnsetType = UNSET
    code_interpreter: CodeDeltaValue


CallDelta: TypeAlias = FunctionCallDelta | FileSearchCallDelta | CodeInterpreterCallDelta


class ToolCallsDelta(Object, frozen=True, kw_only=True):
    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: list[CallDelta]


class StepDetailsDelta(Object, frozen=True, kw_only=True):
    step_details: ToolCallsDelta


class RunStepDelta(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread.run.step.delta"] = "thread.run.step.delta"
    delta: StepDetailsDelta


Delta: TypeAlias = MessageDelta | RunStepDelta
