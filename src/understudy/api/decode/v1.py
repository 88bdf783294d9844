"""The first version's request spellings, mapped as the vendor's migration guide maps them. Contract section 8.

Pure functions on JSON objects. What cannot be mapped without loss is left as it is, so that it is refused by name
rather than dropped. Whatever is no object or no list where one belongs is left alone too: the rules will say so.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from understudy.api.decode.body import JsonObject, Rewrite
from understudy.wire.assistants import CreateAssistant, UpdateAssistant
from understudy.wire.messages import CreateMessage
from understudy.wire.runs import CreateRun, CreateThreadAndRun
from understudy.wire.threads import CreateThread

_CODE: Final = "code_interpreter"
_SEARCH: Final = "file_search"
_SEARCH_V1: Final = "retrieval"

Enabled: TypeAlias = frozenset[str] | None
"""The tools that a body switches on; `None` where it does not say."""


def v1_rewrite(type_: type[Struct]) -> Rewrite | None:
    """Turns the first version's spellings of such a body into today's; `None` where none were different."""
    return _REWRITES.get(type_)


def _create_assistant(body: JsonObject) -> JsonObject:
    body = _with_todays_tools(body)
    return _with_tool_resources(body, stores=True)


def _update_assistant(body: JsonObject) -> JsonObject:
    body = _with_todays_tools(body)
    return _with_tool_resources(body, stores=False)


def _create_message(body: JsonObject) -> JsonObject:
    return _with_attachments(body, None)


def _create_thread(body: JsonObject) -> JsonObject:
    return _with_messages(body, "messages", None)


def _create_run(body: JsonObject) -> JsonObject:
    body = _with_todays_tools(body)
    return _with_messages(body, "additional_messages", _enabled(body))


def _create_thread_and_run(body: JsonObject) -> JsonObject:
    body = _with_todays_tools(body)
    return _changed(body, "thread", lambda thread: _with_messages(thread, "messages", _enabled(body)))


_REWRITES: Final[Mapping[type[Struct], Rewrite]] = {
    CreateAssistant: _create_assistant,
    UpdateAssistant: _update_assistant,
    CreateMessage: _create_message,
    CreateThread: _create_thread,
    CreateRun: _create_run,
    CreateThreadAndRun: _create_thread_and_run,
}


# --- tools


def _with_todays_tools(body: JsonObject) -> JsonObject:
    return _changed(_changed_items(body, "tools", _todays_tool), "tool_choice", _todays_tool)


def _todays_tool(tool: JsonObject) -> JsonObject:
    return {**tool, "type": _SEARCH} if tool.get("type") == _SEARCH_V1 else tool


def _enabled(body: JsonObject) -> Enabled:
    tools = body.get("tools")
    if not isinstance(tools, list):
        return None
    types = [tool.get("type") for tool in tools if isinstance(tool, dict)]
    return frozenset(type_ for type_ in types if isinstance(type_, str))


# --- files


def _with_tool_resources(body: JsonObject, *, stores: bool) -> JsonObject:
    """`stores`: the body may ask for a vector store to be made. Without that, files to search have nowhere to go."""
    if "file_ids" not in body:
        return body
    file_ids, rest = body["file_ids"], {key: value for key, value in body.items() if key != "file_ids"}
    if file_ids is None or file_ids == []:
        return rest
    enabled = _enabled(body)
    # An update that names no tools leaves those of the assistant, which may search.
    searches_elsewhere = not stores and (enabled is None or _SEARCH in enabled)
    if body.get("tool_resources") is not None or searches_elsewhere:
        return body
    enabled = enabled or frozenset()
    resources: JsonObject = {}
    if _SEARCH in enabled:
        resources[_SEARCH] = {"vector_stores": [{"file_ids": file_ids}]}
    # Files given before any tool is switched on wait here: resources may be there without their tool.
    if _CODE in enabled or not resources:
        resources[_CODE] = {"file_ids": file_ids}
    return {**rest, "tool_resources": resources}


def _with_attachments(message: JsonObject, enabled: Enabled) -> JsonObject:
    if "file_ids" not in message:
        return message
    file_ids, rest = message["file_ids"], {key: value for key, value in message.items() if key != "file_ids"}
    if file_ids is None or file_ids == []:
        return rest
    if message.get("attachments") is not None or not isinstance(file_ids, list):
        return message
    # A message does not say which tools its run will have, and the first version gave its files to whichever there
    # were. So they go to both, unless the body around the message names its tools.
    kinds = [kind for kind in (_CODE, _SEARCH) if enabled is None or kind in enabled] or [_CODE, _SEARCH]
    tools = [{"type": kind} for kind in kinds]
    return {**rest, "attachments": [{"file_id": file_id, "tools": tools} for file_id in file_ids]}


def _with_messages(body: JsonObject, key: str, enabled: Enabled) -> JsonObject:
    return _changed_items(body, key, lambda message: _with_attachments(message, enabled))


# --- places in a tree


def _changed(body: JsonObject, key: str, change: Callable[[JsonObject], JsonObject]) -> JsonObject:
    inner = body.get(key)
    return {**body, key: change(inner)} if isinstance(inner, dict) else body


def _changed_items(body: JsonObject, key: str, change: Callable[[JsonObject], JsonObject]) -> JsonObject:
    items = body.get(key)
    if not isinstance(items, list):
        return body
    return {**body, key: [change(item) if isinstance(item, dict) else item for item in items]}
