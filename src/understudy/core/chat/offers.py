"""Which built-in tools a run offers to its model, and under which names."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from understudy.core.run.state import RunSettings
from understudy.wire.chat import ChatFunction
from understudy.wire.tools import CodeInterpreterTool, FileSearchOptions, FileSearchTool, FunctionTool, Tool

BuiltInKind: TypeAlias = Literal["file_search", "code_interpreter"]


class Offer(Struct, frozen=True):
    """A built-in tool as the model sees it: a function like any other."""

    kind: BuiltInKind
    function: ChatFunction


def built_in_kinds(settings: RunSettings) -> Sequence[BuiltInKind]:
    """The built-in tools that the run's model may use, in the order of the run's tools."""
    if not settings.tools or settings.tool_choice == "none":
        return ()
    return list(dict.fromkeys(kind for tool in settings.tools if (kind := _kind(tool)) is not None))


def offers(settings: RunSettings, functions: Mapping[BuiltInKind, ChatFunction]) -> Sequence[Offer]:
    """`functions` has one for each of the `built_in_kinds`. None of them takes the name of a function of the run."""
    taken = {tool.function.name for tool in settings.tools if isinstance(tool, FunctionTool)}
    offered = []
    for kind in built_in_kinds(settings):
        function = functions[kind]
        while function.name in taken:
            function = replace(function, name=f"built_in_{function.name}")
        offered.append(Offer(kind, function))
    return offered


def search_options(settings: RunSettings) -> FileSearchOptions:
    """Of the run's file search; the API's defaults when it has none."""
    return next((tool.file_search for tool in settings.tools if isinstance(tool, FileSearchTool)), FileSearchOptions())


def _kind(tool: Tool) -> BuiltInKind | None:
    match tool:
        case FileSearchTool():
            return "file_search"
        case CodeInterpreterTool():
            return "code_interpreter"
        case FunctionTool():
            return None
