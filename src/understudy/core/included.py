"""What a step shows only to those who ask to have it included: the text of what a file search found."""

from collections.abc import Mapping

from msgspec.structs import replace

from understudy.core.run.state import Note
from understudy.wire.steps import FileSearchCall, ResultText, RunStep, ToolCall, ToolCalls


def with_content(step: RunStep, notes: Mapping[str, Note]) -> RunStep:
    """The step with its results' content. `notes` are of its calls."""
    details = step.step_details
    if not isinstance(details, ToolCalls) or not notes:
        return step
    return replace(step, step_details=ToolCalls(tool_calls=[_call(call, notes) for call in details.tool_calls]))


def _call(call: ToolCall, notes: Mapping[str, Note]) -> ToolCall:
    note = notes.get(call.id)
    if note is None or not isinstance(call, FileSearchCall):
        return call
    results = [
        replace(result, content=[ResultText(text=note.output[source.start : source.end])])
        for result, source in zip(call.file_search.results, note.sources, strict=False)
    ]
    return replace(call, file_search=replace(call.file_search, results=results))
