"""What some model servers cannot take, as a table; and the last look at a request before it leaves.

An operator names the quirks of a server in its settings. A new oddity is a new row, not a new branch.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from understudy.wire.chat import ChatRequest


class Quirk(Struct, frozen=True, kw_only=True):
    """What to change in a request. `why` is shown in the documentation."""

    why: str
    drop: tuple[str, ...] = ()  # fields of the request
    rename: Mapping[str, str] = {}  # fields of the request, old name -> new name
    values: Mapping[str, Mapping[str, object]] = {}  # field -> a value that is a string -> what to send instead
    roles: Mapping[str, str] = {}  # roles of messages, old -> new
    drop_of_functions: tuple[str, ...] = ()  # fields of `tools[].function`
    response_formats: Mapping[str, str] = {}  # `response_format.type`, old -> new; the new one's only field is its type
    text_joined: bool = False  # a content of nothing but text parts becomes one string
    content_always: bool = False  # a message without content gets an empty string


QUIRKS: Final[Mapping[str, Quirk]] = {
    "max_completion_tokens": Quirk(
        why="Reasoning models of the vendor refuse `max_tokens`; they call it `max_completion_tokens`.",
        rename={"max_tokens": "max_completion_tokens"},
    ),
    "developer_role": Quirk(why="Instructions must come as `developer`, not `system`.", roles={"system": "developer"}),
    "system_as_user": Quirk(why="The chat template knows no system message.", roles={"system": "user"}),
    "no_sampling": Quirk(
        why="Reasoning models refuse any temperature and top_p of their caller's.", drop=("temperature", "top_p")
    ),
    "no_stream_options": Quirk(
        why="`stream_options` is refused; runs then have no usage unless the server tells it anyway.",
        drop=("stream_options",),
    ),
    "no_parallel_tool_calls": Quirk(why="`parallel_tool_calls` is refused.", drop=("parallel_tool_calls",)),
    "no_tool_choice": Quirk(why="`tool_choice` is refused: the model always chooses itself.", drop=("tool_choice",)),
    "tool_choice_any": Quirk(
        why="To force a call is spelled `any`, not `required`.", values={"tool_choice": {"required": "any"}}
    ),
    "no_strict_functions": Quirk(why="`strict` in a function is refused.", drop_of_functions=("strict",)),
    "no_reasoning_effort": Quirk(why="`reasoning_effort` is refused.", drop=("reasoning_effort",)),
    "no_response_format": Quirk(why="`response_format` is refused.", drop=("response_format",)),
    "no_json_schema": Quirk(
        why="JSON mode exists, schemas do not: the answer is JSON, its shape is up to the model.",
        response_formats={"json_schema": "json_object"},
    ),
    "text_only": Quirk(why="Content must be a string; a list of text parts is refused.", text_joined=True),
    "content_always": Quirk(
        why="Every message must have content, also one that only calls tools.", content_always=True
    ),
}


def named(names: Iterable[str]) -> tuple[Quirk, ...]:
    """The rows of the table, in order. Raises `ValueError` for a name that it does not have."""
    names = tuple(names)
    unknown = sorted(set(names) - QUIRKS.keys())
    if unknown:
        raise ValueError(f"unknown quirk {unknown[0]!r}; there are {', '.join(sorted(QUIRKS))}")
    return tuple(QUIRKS[name] for name in names)


def request_body(request: ChatRequest, quirks: Iterable[Quirk]) -> bytes:
    """The request as JSON, without what the server cannot take and without what no strict server takes."""
    tree: dict[str, Any] = msgspec.to_builtins(request)
    for quirk in quirks:
        _change(tree, quirk)
    _tidy(tree)
    return msgspec.json.encode(tree)


def _change(tree: dict[str, Any], quirk: Quirk) -> None:
    for field in quirk.drop:
        tree.pop(field, None)
    for old, new in quirk.rename.items():
        if old in tree:
            tree[new] = tree.pop(old)
    for field, meanings in quirk.values.items():
        value = tree.get(field)
        if isinstance(value, str):
            tree[field] = meanings.get(value, value)
    for message in tree["messages"]:
        _change_message(message, quirk)
    for tool in tree.get("tools") or ():
        for field in quirk.drop_of_functions:
            tool["function"].pop(field, None)
    format_ = tree.get("response_format")
    if isinstance(format_, dict) and format_.get("type") in quirk.response_formats:
        tree["response_format"] = {"type": quirk.response_formats[format_["type"]]}


def _change_message(message: dict[str, Any], quirk: Quirk) -> None:
    message["role"] = quirk.roles.get(message["role"], message["role"])
    content = message.get("content")
    if quirk.text_joined and isinstance(content, list) and all(part.get("type") == "text" for part in content):
        message["content"] = "\n".join(part["text"] for part in content)
    if quirk.content_always:
        message.setdefault("content", "")


def _tidy(tree: dict[str, Any]) -> None:
    """Takes out what strict servers answer with 400 (contract section 11.4), whoever put it in."""
    _drop_nulls(tree)
    if not tree.get("tools"):
        for field in ("tools", "tool_choice", "parallel_tool_calls"):
            tree.pop(field, None)
    if not tree.get("stream"):
        tree.pop("stream_options", None)
    for message in tree["messages"]:
        _drop_nulls(message)
        if not message.get("tool_calls", True):
            del message["tool_calls"]
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                _drop_nulls_below(part)
    for tool in tree.get("tools") or ():
        _drop_nulls(tool["function"])
    for field in ("response_format", "tool_choice"):
        if isinstance(tree.get(field), dict):
            _drop_nulls_below(tree[field])


def _drop_nulls(tree: dict[str, Any]) -> None:
    """Not deeper than this level: inside a JSON schema a null means something (`default`, `enum`, `const`)."""
    for field in [field for field, value in tree.items() if value is None]:
        del tree[field]


def _drop_nulls_below(tree: dict[str, Any]) -> None:
    """This level and the next: `image_url.detail`, `json_schema.description`."""
    _drop_nulls(tree)
    for value in tree.values():
        if isinstance(value, dict):
            _drop_nulls(value)
