"""What messages bring to their thread's tools: contract section 2.3."""

from collections.abc import Iterable, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from understudy.wire.messages import Message
from understudy.wire.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchResources,
    ToolResources,
)


def files_to_run(messages: Iterable[Message]) -> Sequence[str]:
    """The files that messages attach for the code interpreter, each once."""
    return _attached(messages, to_search=False)


def files_to_search(messages: Iterable[Message]) -> Sequence[str]:
    """The files that messages attach for file search, each once."""
    return _attached(messages, to_search=True)


def _attached(messages: Iterable[Message], *, to_search: bool) -> Sequence[str]:
    found = {
        attachment.file_id: None
        for message in messages
        for attachment in message.attachments
        for tool in attachment.tools
        if isinstance(tool, CodeInterpreterTool) is not to_search
    }
    return list(found)


def store_of(resources: ToolResources) -> str | None:
    """The vector store that a thread or an assistant searches: it has one at most."""
    return None if resources.file_search is UNSET else next(iter(resources.file_search.vector_store_ids), None)


def with_store(resources: ToolResources, store_id: str) -> ToolResources:
    return replace(resources, file_search=FileSearchResources(vector_store_ids=[store_id]))


def code_files(resources: ToolResources) -> Sequence[str]:
    return [] if resources.code_interpreter is UNSET else resources.code_interpreter.file_ids


def with_code_files(resources: ToolResources, file_ids: Sequence[str]) -> ToolResources:
    """Behind those that are there already."""
    if not file_ids:
        return resources
    both = list(dict.fromkeys([*code_files(resources), *file_ids]))
    return replace(resources, code_interpreter=CodeInterpreterResources(file_ids=both))
