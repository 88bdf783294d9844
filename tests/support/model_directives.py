"""The reply that the last user message asks for, for clients in other processes. The directives:

    @say TEXT              answers TEXT, word by word
    @call NAME {JSON}      calls a function with these arguments
    @calls [{"name": NAME, "arguments": {...}}, ...]    calls several in parallel
    @saycall NAME {JSON}   some text first, then the call
    @whole TEXT            answers TEXT as one JSON object, not as a stream
    @wholecall NAME {JSON} some text and a call, as one JSON object
    @refuse TEXT           refuses with TEXT
    @length TEXT           answers TEXT and ends with finish_reason `length`
    @filter TEXT           answers TEXT and ends with finish_reason `content_filter`
    @fail STATUS TEXT      an HTTP error with TEXT as its message
    @cut TEXT              answers TEXT, then cuts the connection
    @hang TEXT             answers TEXT, then is silent until the client goes away

A directive is the last line of the message that begins with `@`. Behind tool outputs the answer is a text that quotes
them. Without a directive the whole message is echoed.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from support.model_replies import Answer, Call, Cut, Failure, Part, Refuse, Reply, Silence


def pieces(text: str) -> list[str]:
    """A text cut before each word, so that joined they give it back."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


def text_of(message: dict[str, Any]) -> str:
    """The text of a chat message, whether its content is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def directed(request: dict[str, Any], new_call_id: Callable[[], str]) -> Answer:
    """The answer that a request's own messages ask for."""
    messages: list[dict[str, Any]] = request.get("messages") or []
    if messages and messages[-1].get("role") == "tool":
        return Reply(*pieces("The tools say: " + "; ".join(_last_outputs(messages))))
    asked = next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")
    lines = [line for line in asked.splitlines() if line.startswith("@")]
    if not lines:
        return Reply(*pieces(asked) or ("Hello.",))
    word, _, rest = lines[-1][1:].partition(" ")
    return _obey(word, rest, new_call_id)


def _last_outputs(messages: Sequence[dict[str, Any]]) -> list[str]:
    outputs = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        outputs.append(text_of(message))
    return outputs[::-1]


def _obey(word: str, rest: str, new_call_id: Callable[[], str]) -> Answer:
    said: list[Part] = [*pieces(rest)]
    match word:
        case "say":
            return Reply(*said)
        case "call" | "saycall":
            name, _, arguments = rest.partition(" ")
            before = pieces("Let me look that up.") if word == "saycall" else []
            return Reply(*before, _call(new_call_id(), name, arguments or "{}"))
        case "whole":
            return Reply(rest, plain=True)
        case "wholecall":
            name, _, arguments = rest.partition(" ")
            return Reply("Let me look that up.", _call(new_call_id(), name, arguments or "{}"), plain=True)
        case "calls":
            wanted = [(call["name"], json.dumps(call["arguments"])) for call in json.loads(rest)]
            return Reply(*(_call(new_call_id(), name, arguments) for name, arguments in wanted))
        case "refuse":
            return Reply(*(Refuse(piece) for piece in pieces(rest)))
        case "length":
            return Reply(*said, finish="length")
        case "filter":
            return Reply(*said, finish="content_filter")
        case "fail":
            status, _, message = rest.partition(" ")
            return Failure(int(status), message or "The model server failed.")
        case "cut":
            return Reply(*said, Cut())
        case "hang":
            return Reply(*said, Silence())
        case _:
            return Failure(400, f"The scripted model knows no directive '@{word}'.", type="invalid_request_error")


def _call(call_id: str, name: str, arguments: str) -> Call:
    middle = len(arguments) // 2
    return Call(call_id, name, arguments[:middle], arguments[middle:])
