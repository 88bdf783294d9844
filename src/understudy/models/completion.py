"""A whole chat completion, as servers answer that do not know `stream`, turned into the chunks it would have been."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from understudy.models import failures
from understudy.wire.base import JsonObject
from understudy.wire.chat import Chunk, ChunkChoice, ChunkDelta, ChunkFunction, ChunkToolCall, ChunkUsage


class _Function(Struct, frozen=True):
    name: str | None = None
    arguments: str | JsonObject | None = None


class _ToolCall(Struct, frozen=True):
    id: str | None = None
    function: _Function = _Function()


class _Message(Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None


class _Completion(Struct, frozen=True):
    choices: list[_Choice]
    usage: ChunkUsage | None = None


_DECODER: Final = msgspec.json.Decoder(_Completion)


def chunks(body: bytes, content_type: str, secrets: Sequence[str]) -> list[Chunk]:
    """The message's content and calls, then its finish reason, then its usage.

    Raises `ModelError`: an `error`, or a body that is no completion.
    """
    try:
        tree = msgspec.json.decode(body)
        if isinstance(tree, dict) and tree.get("error") is not None:
            raise failures.of_error_tree(tree, secrets)
        completion = _DECODER.decode(body)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise failures.unexpected(content_type) from error
    if not completion.choices:
        raise failures.unexpected(content_type)
    choice = completion.choices[0]
    made = [Chunk(choices=[ChunkChoice(delta=_delta(choice.message))])]
    if choice.finish_reason is not None:
        made.append(Chunk(choices=[ChunkChoice(finish_reason=choice.finish_reason)]))
    if completion.usage is not None:
        made.append(Chunk(usage=completion.usage))
    return made


def _delta(message: _Message) -> ChunkDelta:
    calls = [
        ChunkToolCall(
            index=index,
            id=call.id,
            function=ChunkFunction(name=call.function.name, arguments=_arguments(call.function.arguments)),
        )
        for index, call in enumerate(message.tool_calls or ())
    ]
    return ChunkDelta(content=message.content, refusal=message.refusal, tool_calls=calls or None)


def _arguments(arguments: str | JsonObject | None) -> str | None:
    # Some servers send the arguments as an object where the API has a string of JSON.
    return msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else arguments
