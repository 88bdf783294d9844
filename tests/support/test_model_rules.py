from typing import Any

import pytest

from support.model_rules import faults

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "default": None}}}


def called(*ids: str) -> dict[str, Any]:
    calls = [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ids]
    return {"role": "assistant", "tool_calls": calls}


def output(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": ""}


def request(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages or (USER,)), **more}


@pytest.mark.parametrize(
    "well_made",
    [
        request(),
        request(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}, parallel_tool_calls=False),
        request(stream=True, stream_options={"include_usage": True}),
        request(USER, called("a", "b"), output("b"), output("a"), USER),
        request(USER, called("a"), output("a"), called("a"), output("a")),
        request({"role": "user", "content": [{"type": "text", "text": "x"}]}),
    ],
)
def test_a_well_made_request_has_no_faults(well_made: dict[str, Any]) -> None:
    assert faults(well_made) == []


@pytest.mark.parametrize(
    ("malformed", "words"),
    [
        (request(temperature=None), "'temperature' is null"),
        (request({"role": "user", "content": "x", "name": None}), "'messages[0].name' is null"),
        (request(tools=[]), "'tools' is empty"),
        (request(tool_choice="auto"), "'tool_choice' is only allowed when 'tools' are specified"),
        (request(parallel_tool_calls=True), "'parallel_tool_calls' is only allowed when 'tools' are specified"),
        (request(stream_options={"include_usage": True}), "'stream_options' is only allowed when 'stream' is true"),
        (request(tools=[{"type": "file_search"}]), "'tools[0]' is not a function"),
        (
            request(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
            "'tool_choice' names 'g', which is not among 'tools'",
        ),
        (request(max_prompt_tokens=9), "Unrecognized request argument supplied: max_prompt_tokens"),
        (request(USER, called("a", "b"), output("a")), "the calls ['b'] have no outputs"),
        (request(USER, called("a"), USER), "'messages[2]' comes before the outputs of ['a']"),
        (request(USER, output("a")), "'messages[1]' answers 'a', which no preceding message called"),
        (
            request(USER, called("a"), output("a"), output("a")),
            "'messages[3]' answers 'a', which no preceding message called",
        ),
        (request({"role": "user", "content": ""}), "'messages[0].content' is missing or empty"),
        (request({"role": "assistant", "tool_calls": []}), "'messages[0].tool_calls' is empty"),
        (request({"role": "thread", "content": "x"}), "'messages[0].role' is 'thread'"),
        ({"model": "m", "messages": []}, "'messages' is missing or empty"),
        ({"messages": [USER]}, "'model' is missing"),
    ],
)
def test_a_malformed_request_is_told_why(malformed: dict[str, Any], words: str) -> None:
    assert words in faults(malformed)
