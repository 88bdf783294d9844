"""What streams while a step grows. Shapes and their first-and-later rule: contract section 4.2.

Clients concatenate strings, add numbers and merge lists by `index`, so `id`, `name` and `annotations: []` are sent
once per index and never again.
"""

from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from understudy.wire.base import Object
from understudy.wire.messages import Annotation


class TextDeltaValue(Object, frozen=True, kw_only=True):
    value: str
    annotations: list[Annotation] | UnsetType = UNSET


class TextDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="text"):
    index: int
    text: TextDeltaValue


class RefusalDelta(Object, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    index: int
    refusal: str


class ContentDelta(Object, frozen=True, kw_only=True):
    content: list[TextDelta | RefusalDelta]


class MessageDelta(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread.message.delta"] = "thread.message.delta"
    delta: ContentDelta


class FunctionDeltaValue(Object, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    arguments: str
    output: UnsetType | None = UNSET


class FunctionCallDelta(Object, frozen=True, kw_only=True):
    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] = "function"
    function: FunctionDeltaValue


class ToolCallsDelta(Object, frozen=True, kw_only=True):
    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: list[FunctionCallDelta]


class StepDetailsDelta(Object, frozen=True, kw_only=True):
    step_details: ToolCallsDelta


class RunStepDelta(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread.run.step.delta"] = "thread.run.step.delta"
    delta: StepDetailsDelta


Delta: TypeAlias = MessageDelta | RunStepDelta
