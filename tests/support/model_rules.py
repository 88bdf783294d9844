"""What strict Chat Completions servers refuse, in one function: `faults(request) -> sentences`."""

from collections.abc import Iterator
from typing import Any, Final

KNOWN_KEYS: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    }
)
ROLES: Final = ("system", "developer", "user", "assistant", "tool")
# JSON schemas may hold nulls of their own.
SCHEMA_KEYS: Final = ("parameters", "schema")


def faults(request: dict[str, Any]) -> list[str]:
    """All that a strict server would refuse this request for; empty when it is well made."""
    return [
        *(f"Unrecognized request argument supplied: {key}" for key in request if key not in KNOWN_KEYS),
        *(f"'{path}' is null" for path in _nulls(request, "")),
        *_shape_faults(request),
        *_tool_faults(request),
        *_message_faults(request.get("messages") or []),
    ]


def _nulls(tree: object, path: str) -> Iterator[str]:
    match tree:
        case None:
            yield path
        case dict():
            for key, value in tree.items():
                if key not in SCHEMA_KEYS:
                    yield from _nulls(value, f"{path}.{key}" if path else key)
        case list():
            for place, value in enumerate(tree):
                yield from _nulls(value, f"{path}[{place}]")


def _shape_faults(request: dict[str, Any]) -> Iterator[str]:
    if not isinstance(request.get("model"), str) or not request["model"]:
        yield "'model' is missing"
    if not request.get("messages"):
        yield "'messages' is missing or empty"
    if "stream_options" in request and not request.get("stream"):
        yield "'stream_options' is only allowed when 'stream' is true"


def _tool_faults(request: dict[str, Any]) -> Iterator[str]:
    tools = request.get("tools")
    if "tools" in request and not tools:
        yield "'tools' is empty"
    for key in ("tool_choice", "parallel_tool_calls"):
        if key in request and not tools:
            yield f"'{key}' is only allowed when 'tools' are specified"
    for place, tool in enumerate(tools or []):
        if tool.get("type") != "function" or not tool.get("function", {}).get("name"):
            yield f"'tools[{place}]' is not a function"
    choice = request.get("tool_choice")
    if isinstance(choice, dict):
        named = choice.get("function", {}).get("name")
        if named not in [tool.get("function", {}).get("name") for tool in tools or []]:
            yield f"'tool_choice' names '{named}', which is not among 'tools'"


def _message_faults(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Every call has its output directly behind it, every output its call, and every message something to say."""
    open_calls: list[str] = []
    for place, message in enumerate(messages):
        role = message.get("role")
        if role not in ROLES:
            yield f"'messages[{place}].role' is '{role}'"
        if role == "tool":
            call_id = message.get("tool_call_id", "")
            if call_id in open_calls:
                open_calls.remove(call_id)
            else:
                yield f"'messages[{place}]' answers '{call_id}', which no preceding message called"
        elif open_calls:
            yield f"'messages[{place}]' comes before the outputs of {open_calls}"
            open_calls = []
        calls = message.get("tool_calls")
        if "tool_calls" in message and not calls:
            yield f"'messages[{place}].tool_calls' is empty"
        open_calls += [call["id"] for call in calls or []]
        if not calls and role != "tool" and message.get("content") in (None, "", []):
            yield f"'messages[{place}].content' is missing or empty"
    if open_calls:
        yield f"the calls {open_calls} have no outputs"
