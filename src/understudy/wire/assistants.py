"""Assistants. Limits: contract section 2.1, from the vendor's specification."""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from understudy.wire.base import Body, Metadata, Object, ReasoningEffort, Temperature, TopP
from understudy.wire.tools import (
    NewToolResourcesBody,
    ResponseFormat,
    Tool,
    ToolBodies,
    ToolResources,
    ToolResourcesBody,
)

Name: TypeAlias = Annotated[str, Meta(max_length=256)]
Description: TypeAlias = Annotated[str, Meta(max_length=512)]
Instructions: TypeAlias = Annotated[str, Meta(max_length=256_000)]


class CreateAssistant(Body, frozen=True, kw_only=True):
    model: Annotated[str, Meta(min_length=1)]
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    reasoning_effort: ReasoningEffort | None = None
    tools: ToolBodies | None = None
    tool_resources: NewToolResourcesBody | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None


class UpdateAssistant(Body, frozen=True, kw_only=True):
    """Only the keys that are sent change; `null` means "not given" (the vendor's specification)."""

    model: Annotated[str, Meta(min_length=1)] | None = None
    reasoning_effort: ReasoningEffort | None = None
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    tools: ToolBodies | None = None
    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None


class Assistant(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["assistant"] = "assistant"
    created_at: int
    name: str | None
    description: str | None
    model: str
    instructions: str | None
    tools: list[Tool]
    tool_resources: ToolResources
    metadata: dict[str, str]
    temperature: float
    top_p: float
    response_format: ResponseFormat
    reasoning_effort: ReasoningEffort | UnsetType = UNSET
