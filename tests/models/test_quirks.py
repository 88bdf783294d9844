import json
from collections.abc import Mapping

import pytest
from msgspec import UNSET, Struct

from understudy.models.quirks import QUIRKS, named, request_body
from understudy.wire.chat import (
    ChatCalledFunction,
    ChatFunction,
    ChatMessage,
    ChatRequest,
    ChatTool,
    ChatToolCall,
)

SCHEMA = {"type": "object", "properties": {"x": {"enum": ["a", None], "default": None}}}
REQUEST = ChatRequest(
    model="m",
    messages=[
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content=[{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]),
        ChatMessage(
            role="assistant",
            tool_calls=[ChatToolCall(id="call_1", function=ChatCalledFunction(name="f", arguments="{}"))],
        ),
        ChatMessage(role="tool", tool_call_id="call_1", content="3"),
    ],
    tools=[ChatTool(function=ChatFunction(name="f", parameters=SCHEMA, strict=True))],
    tool_choice="required",
    parallel_tool_calls=False,
    temperature=0.5,
    top_p=0.9,
    max_tokens=7,
    response_format={"type": "json_schema", "json_schema": {"name": "n", "description": None, "schema": SCHEMA}},
    reasoning_effort="low",
)
PLAIN = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 7,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    "reasoning_effort": "low",
}
GONE = object()


def sent(request: ChatRequest, *names: str) -> dict[str, object]:
    tree: dict[str, object] = json.loads(request_body(request, named(names)))
    return tree


def messages(role: str) -> list[dict[str, object]]:
    return [{**message, "role": role if message["role"] == "system" else message["role"]} for message in PLAIN_MESSAGES]


PLAIN_MESSAGES: list[dict[str, object]] = PLAIN["messages"]  # type: ignore[assignment]

CHANGES: dict[str, Mapping[str, object]] = {
    "max_completion_tokens": {"max_tokens": GONE, "max_completion_tokens": 7},
    "developer_role": {"messages": messages("developer")},
    "system_as_user": {"messages": messages("user")},
    "no_sampling": {"temperature": GONE, "top_p": GONE},
    "no_stream_options": {"stream_options": GONE},
    "no_parallel_tool_calls": {"parallel_tool_calls": GONE},
    "no_tool_choice": {"tool_choice": GONE},
    "tool_choice_any": {"tool_choice": "any"},
    "no_strict_functions": {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    "no_reasoning_effort": {"reasoning_effort": GONE},
    "no_response_format": {"response_format": GONE},
    "no_json_schema": {"response_format": {"type": "json_object"}},
    "text_only": {"messages": [PLAIN_MESSAGES[0], {"role": "user", "content": "one\ntwo"}, *PLAIN_MESSAGES[2:]]},
    "content_always": {"messages": [*PLAIN_MESSAGES[:2], {**PLAIN_MESSAGES[2], "content": ""}, PLAIN_MESSAGES[3]]},
}


def test_without_quirks_a_request_is_sent_as_it_is_and_schemas_keep_their_nulls() -> None:
    assert sent(REQUEST) == PLAIN


def test_every_quirk_is_tested_and_says_why() -> None:
    assert CHANGES.keys() == QUIRKS.keys()
    assert all(quirk.why for quirk in QUIRKS.values())


@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_changes_what_it_says_and_nothing_else(name: str) -> None:
    expected = {field: value for field, value in {**PLAIN, **CHANGES[name]}.items() if value is not GONE}
    assert sent(REQUEST, name) == expected


@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_leaves_a_request_alone_that_has_nothing_of_it(name: str) -> None:
    request = ChatRequest(model="m", messages=[ChatMessage(role="user", content="Hi")])
    plain = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    stream_options = {} if name == "no_stream_options" else {"stream_options": {"include_usage": True}}
    assert sent(request, name) == plain | stream_options


def test_quirks_add_up() -> None:
    tree = sent(REQUEST, "max_completion_tokens", "no_sampling", "developer_role")
    assert tree["max_completion_tokens"] == 7
    assert "temperature" not in tree
    assert tree["messages"] == messages("developer")


def test_text_only_leaves_content_with_an_image_to_the_server() -> None:
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u", "detail": None}}]
    request = ChatRequest(model="m", messages=[ChatMessage(role="user", content=content)])
    image = {"type": "image_url", "image_url": {"url": "u"}}
    assert sent(request, "text_only")["messages"] == [{"role": "user", "content": [content[0], image]}]
    assert content[1]["image_url"] == {"url": "u", "detail": None}  # the caller's own tree is not touched


def test_a_named_tool_choice_is_no_word_to_translate() -> None:
    choice = {"type": "function", "function": {"name": "f"}}
    request = ChatRequest(model="m", messages=[], tools=REQUEST.tools, tool_choice=choice)
    assert sent(request, "tool_choice_any")["tool_choice"] == choice


@pytest.mark.parametrize("tools", [UNSET, []])
def test_no_tool_choice_and_no_empty_tools_leave_without_tools(tools: object) -> None:
    request = ChatRequest(model="m", messages=[], tools=tools, tool_choice="auto", parallel_tool_calls=True)  # type: ignore[arg-type]
    assert sent(request).keys() == {"model", "messages", "stream", "stream_options"}


def test_no_null_leaves_whatever_the_types_say() -> None:
    message = ChatMessage(role="assistant", content=None, tool_calls=[])  # type: ignore[arg-type]
    request = ChatRequest(model="m", messages=[message], temperature=None, response_format=None)  # type: ignore[arg-type]
    assert sent(request) == {
        "model": "m",
        "messages": [{"role": "assistant"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_no_stream_options_leave_without_stream() -> None:
    request = ChatRequest(model="m", messages=[], stream=False)  # type: ignore[arg-type]
    assert sent(request) == {"model": "m", "messages": [], "stream": False}


def test_an_unknown_quirk_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown quirk 'x'; there are content_always, developer_role, .*"):
        named(["no_sampling", "x"])


def test_every_field_that_the_table_names_is_one_of_the_request() -> None:
    fields = set(ChatRequest.__struct_fields__)
    for quirk in QUIRKS.values():
        assert isinstance(quirk, Struct)
        assert {*quirk.drop, *quirk.rename, *quirk.values} <= fields
        assert set(quirk.drop_of_functions) <= set(ChatFunction.__struct_fields__)
