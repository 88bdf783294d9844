"""Threads. Limits: contract section 2.2."""

from typing import Literal

from understudy.wire.base import Body, Metadata, Object
from understudy.wire.messages import CreateMessage
from understudy.wire.tools import NewToolResourcesBody, ToolResources, ToolResourcesBody


class CreateThread(Body, frozen=True, kw_only=True):
    messages: list[CreateMessage] | None = None
    tool_resources: NewToolResourcesBody | None = None
    metadata: Metadata | None = None


class UpdateThread(Body, frozen=True, kw_only=True):
    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None


class Thread(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["thread"] = "thread"
    created_at: int
    tool_resources: ToolResources = ToolResources()
    metadata: dict[str, str] = {}
