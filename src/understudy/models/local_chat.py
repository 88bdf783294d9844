"""What the local model is asked instead: it reads plain text only and calls no tools, but it can be held to a schema.

A forced function is asked for as JSON of the function's parameters, and the JSON is handed on as the call's arguments.
Nothing here does I/O.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from understudy.core.limits import COMPLETION_RESERVE_TOKENS
from understudy.ports import ModelError, NewId
from understudy.wire.base import JsonObject
from understudy.wire.chat import (
    ChatFunction,
    ChatMessage,
    ChatRequest,
    ChatToolCall,
    Chunk,
    ChunkChoice,
    ChunkDelta,
    ChunkFunction,
    ChunkToolCall,
)

__all__ = ["Adapted", "CallWriter", "adapt"]

_ANY_ARGUMENTS: Final[JsonObject] = {"type": "object", "properties": {}, "additionalProperties": False}
_CHOICE_HEAD: Final = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]+)"\s*,\s*"arguments"\s*:\s*')


class Adapted(Struct, frozen=True, kw_only=True):
    """The request that the local model can answer. `forced` are the functions of which one must be called."""

    request: ChatRequest
    forced: Sequence[ChatFunction] = ()
    tools_left_out: int = 0
    images_left_out: int = 0


def adapt(request: ChatRequest, *, model: str) -> Adapted:
    """Raises `ModelError` when `tool_choice` names a function that is not among the tools."""
    tools = [] if request.tools is UNSET else [tool.function for tool in request.tools]
    forced = _forced(tools, request.tool_choice)
    messages, images = _plain(request.messages)
    response_format = request.response_format
    if forced:
        messages = _with_instruction(messages, _instruction(forced))
        response_format = {"type": "json_schema", "json_schema": {"name": "call", "schema": _schema(forced)}}
    adapted = msgspec.structs.replace(
        request,
        model=model,
        messages=messages,
        tools=UNSET,
        tool_choice=UNSET,
        parallel_tool_calls=UNSET,
        # A small model that has lost the thread goes on until its slot is full.
        max_tokens=COMPLETION_RESERVE_TOKENS if request.max_tokens is UNSET else request.max_tokens,
        response_format=response_format,
    )
    unforced = not forced and request.tool_choice != "none"
    return Adapted(request=adapted, forced=forced, tools_left_out=len(tools) if unforced else 0, images_left_out=images)


# --- functions


def _forced(functions: Sequence[ChatFunction], choice: str | JsonObject | UnsetType) -> Sequence[ChatFunction]:
    if choice == "required":
        return functions
    if not isinstance(choice, dict):
        return ()
    wanted = choice.get("function")
    name = wanted.get("name") if isinstance(wanted, dict) else None
    found = [function for function in functions if function.name == name]
    if not found:
        raise ModelError(f"tool_choice names the function '{name}', which is not among the tools.")
    return found[:1]


def _instruction(forced: Sequence[ChatFunction]) -> str:
    described = [
        function.name if function.description is UNSET else f"{function.name}: {function.description}"
        for function in forced
    ]
    if len(described) == 1:
        return f"Answer with the arguments of this function, as JSON.\n{described[0]}"
    return "Choose one of these functions and answer with its name and its arguments, as JSON.\n" + "\n".join(described)


def _schema(forced: Sequence[ChatFunction]) -> JsonObject:
    """What the answer must be: one function's arguments, or the name of one of several and its arguments."""
    if len(forced) == 1:
        return _parameters(forced[0])
    definitions = {str(index): _relocated(_parameters(f), f"#/$defs/{index}") for index, f in enumerate(forced)}
    choices = [
        {
            "type": "object",
            "properties": {"name": {"const": function.name}, "arguments": {"$ref": f"#/$defs/{index}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for index, function in enumerate(forced)
    ]
    return {"anyOf": choices, "$defs": definitions}


def _parameters(function: ChatFunction) -> JsonObject:
    if function.parameters is UNSET or not function.parameters:
        return _ANY_ARGUMENTS
    # Without a type, any JSON would do.
    return {"type": "object", **function.parameters}


def _relocated(node: object, root: str) -> object:
    """The schema with its references to its own root turned to where that root is now."""
    if isinstance(node, list):
        return [_relocated(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: root + value[1:] if key == "$ref" and isinstance(value, str) else _relocated(value, root)
        for key, value in node.items()
    }


# --- messages


def _plain(messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], int]:
    """The messages as text, calls and their outputs told in words, and the number of images that were left out."""
    outputs = {message.tool_call_id: _text(message) for message in messages if message.role == "tool"}
    plain: list[ChatMessage] = []
    for message in messages:
        if message.role == "tool":
            continue
        text = _text(message)
        if message.tool_calls is not UNSET:
            # Of six ways to tell it that were tried, the one after which a small model repeats the result most often.
            told = [_told(call, outputs.get(call.id)) for call in message.tool_calls]
            text = "\n".join([text, *told] if text else told)
        plain.append(ChatMessage(role=message.role, content=text))
    if messages and messages[-1].role == "tool":
        plain.append(ChatMessage(role="user", content="Answer my question with this result."))
    return plain, sum(_images(message) for message in messages)


def _text(message: ChatMessage) -> str:
    if message.content is UNSET:
        return ""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(str(part.get("text", "")) for part in message.content if part.get("type") == "text")


def _images(message: ChatMessage) -> int:
    if message.content is UNSET or isinstance(message.content, str):
        return 0
    return sum(part.get("type") != "text" for part in message.content)


def _told(call: ChatToolCall, output: str | None) -> str:
    used = f"I used {call.function.name} with {call.function.arguments}"
    return f"{used}." if output is None else f"{used}, and the result is: {output}"


def _with_instruction(messages: Sequence[ChatMessage], instruction: str) -> list[ChatMessage]:
    """One system message, at the front: some models' templates refuse any other."""
    if messages and messages[0].role == "system":
        text = f"{messages[0].content}\n\n{instruction}"
        return [ChatMessage(role="system", content=text), *messages[1:]]
    return [ChatMessage(role="system", content=instruction), *messages]


# --- the answer


class CallWriter:
    """Turns the chunks of a forced answer into those of a tool call, argument text as it comes."""

    def __init__(self, forced: Sequence[ChatFunction], new_id: NewId) -> None:
        self._name = forced[0].name if len(forced) == 1 else None
        self._new_id = new_id
        self._begun = False
        self._head = ""  # of a choice, until it says which function
        self._arguments = _FirstObject()

    def write(self, chunk: Chunk) -> Chunk | None:
        """The chunk to hand on. `None`: nothing yet."""
        choices = [written for choice in chunk.choices if (written := self._choice(choice)) is not None]
        if not choices and chunk.usage is None and chunk.error is None:
            return None
        return msgspec.structs.replace(chunk, choices=choices)

    def _choice(self, choice: ChunkChoice) -> ChunkChoice | None:
        calls = self._calls(choice.delta.content or "")
        finish_reason = choice.finish_reason
        if finish_reason == "stop" and self._begun:
            finish_reason = "tool_calls"
        if calls is None and finish_reason is None:
            return None
        return ChunkChoice(delta=ChunkDelta(tool_calls=calls), finish_reason=finish_reason)

    def _calls(self, text: str) -> list[ChunkToolCall] | None:
        if self._name is None:
            self._head += text
            head = _CHOICE_HEAD.match(self._head)
            # The grammar puts the name first, so a head that is no match yet is only not whole yet.
            if head is None or head.end() == len(self._head):
                return None
            self._name, text, self._head = head[1], self._head[head.end() :], ""
        arguments = self._arguments.take(text)
        if not arguments:
            return None
        function = ChunkFunction(name=None if self._begun else self._name, arguments=arguments)
        call = ChunkToolCall(index=0, id=None if self._begun else self._new_id("call"), function=function)
        self._begun = True
        return [call]


class _FirstObject:
    """Lets the first whole JSON object of a text through, and nothing after it: a choice's own brace, say."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._over = False

    def take(self, text: str) -> str:
        if self._over:
            return ""
        for index, letter in enumerate(text):
            if self._in_string:
                self._in_string = self._escaped or letter != '"'
                self._escaped = letter == "\\" and not self._escaped
            elif letter == '"':
                self._in_string = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._over = True
                    return text[: index + 1]
        return text
