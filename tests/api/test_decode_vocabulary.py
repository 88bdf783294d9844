from typing import Any

import pytest

from support.refusals import assistant, function, message, refusal, run
from understudy.wire.assistants import CreateAssistant
from understudy.wire.base import Body
from understudy.wire.messages import CreateMessage
from understudy.wire.runs import CreateRun, CreateThreadAndRun, SubmitToolOutputs

SUPPORTED_TOOLS = "Supported values are: 'code_interpreter', 'function', and 'file_search'."

ATTESTED: list[tuple[type[Body], dict[str, Any], str, str, str]] = [
    (
        CreateAssistant,
        assistant(tools=[{"type": "retrieval"}]),
        f"Invalid value: 'retrieval'. {SUPPORTED_TOOLS}",
        "tools[0].type",
        "invalid_value",
    ),
    (
        CreateMessage,
        message(content="x" * 256_001),
        "Invalid 'content': string too long. Expected a string with maximum length 256000, "
        "but got a string with length 256001 instead.",
        "content",
        "string_above_max_length",
    ),
    (
        CreateMessage,
        message(attachments=[{"file_id": "file-1"}] * 21),
        "Invalid 'attachments': array too long. Expected an array with maximum length 20, "
        "but got an array with length 21 instead.",
        "attachments",
        "array_above_max_length",
    ),
    (
        CreateAssistant,
        assistant(tools=[function()] * 217),
        "Invalid 'tools': array too long. Expected an array with maximum length 128, "
        "but got an array with length 217 instead.",
        "tools",
        "array_above_max_length",
    ),
    (
        CreateAssistant,
        assistant(tools=[function(name="get weather")]),
        "Invalid 'tools[0].function.name': string does not match pattern. "
        "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        "tools[0].function.name",
        "invalid_value",
    ),
    (
        CreateAssistant,
        assistant(tools=[function(name="f\n")]),
        "Invalid 'tools[0].function.name': string does not match pattern. "
        "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        "tools[0].function.name",
        "invalid_value",
    ),
    (
        CreateRun,
        run(assistant_id="foo"),
        "Invalid 'assistant_id': 'foo'. Expected an ID that begins with 'asst'.",
        "assistant_id",
        "invalid_value",
    ),
]
VOCABULARY: list[tuple[type[Body], dict[str, Any], str, str, str]] = [
    (CreateRun, {}, "Missing required parameter: 'assistant_id'.", "assistant_id", "missing_required_parameter"),
    (
        SubmitToolOutputs,
        {"tool_outputs": [{"output": "1"}]},
        "Missing required parameter: 'tool_outputs[0].tool_call_id'.",
        "tool_outputs[0].tool_call_id",
        "missing_required_parameter",
    ),
    (
        CreateAssistant,
        assistant(tools=[{"function": {"name": "f"}}]),
        "Missing required parameter: 'tools[0].type'.",
        "tools[0].type",
        "missing_required_parameter",
    ),
    (CreateAssistant, assistant(zebra=1), "Unknown parameter: 'zebra'.", "zebra", "unknown_parameter"),
    (
        CreateAssistant,
        assistant(metdata={}),
        "Unknown parameter: 'metdata'. Did you mean 'metadata'?",
        "metdata",
        "unknown_parameter",
    ),
    (
        CreateAssistant,
        assistant(tools=[function(parameter={})]),
        "Unknown parameter: 'tools[0].function.parameter'. Did you mean 'tools[0].function.parameters'?",
        "tools[0].function.parameter",
        "unknown_parameter",
    ),
    (
        CreateAssistant,
        assistant(temperature="warm"),
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
        "temperature",
        "invalid_type",
    ),
    (
        CreateAssistant,
        assistant(temperature=True),
        "Invalid type for 'temperature': expected a decimal, but got a boolean instead.",
        "temperature",
        "invalid_type",
    ),
    (
        CreateRun,
        run(max_prompt_tokens=3.0),
        "Invalid type for 'max_prompt_tokens': expected an integer, but got a decimal number instead.",
        "max_prompt_tokens",
        "invalid_type",
    ),
    (
        CreateRun,
        run(max_prompt_tokens=True),
        "Invalid type for 'max_prompt_tokens': expected an integer, but got a boolean instead.",
        "max_prompt_tokens",
        "invalid_type",
    ),
    (
        CreateRun,
        run(assistant_id=None),
        "Invalid type for 'assistant_id': expected a string, but got null instead.",
        "assistant_id",
        "invalid_type",
    ),
    (
        CreateAssistant,
        assistant(tools={}),
        "Invalid type for 'tools': expected an array of objects, but got an object instead.",
        "tools",
        "invalid_type",
    ),
    (
        CreateAssistant,
        assistant(tools=["function"]),
        "Invalid type for 'tools[0]': expected an object, but got a string instead.",
        "tools[0]",
        "invalid_type",
    ),
    (
        CreateAssistant,
        assistant(tool_resources={"code_interpreter": {"file_ids": "file-1"}}),
        "Invalid type for 'tool_resources.code_interpreter.file_ids': "
        "expected an array of strings, but got a string instead.",
        "tool_resources.code_interpreter.file_ids",
        "invalid_type",
    ),
    (
        CreateMessage,
        message(content=7),
        "Invalid type for 'content': expected one of a string or array of objects, but got an integer instead.",
        "content",
        "invalid_type",
    ),
    (
        CreateRun,
        run(tool_choice=[]),
        "Invalid type for 'tool_choice': expected one of a string or object, but got an array instead.",
        "tool_choice",
        "invalid_type",
    ),
    (
        CreateAssistant,
        assistant(metadata="x"),
        "Invalid type for 'metadata': expected a metadata object, but got a string instead.",
        "metadata",
        "invalid_type",
    ),
    (
        CreateAssistant,
        assistant(metadata={"k": 7}),
        "Invalid type for 'metadata.k': expected a string, but got an integer instead.",
        "metadata.k",
        "invalid_type",
    ),
    (
        SubmitToolOutputs,
        {"tool_outputs": [{"tool_call_id": "call_1", "output": {}}]},
        "Invalid type for 'tool_outputs[0].output': expected a string, but got an object instead.",
        "tool_outputs[0].output",
        "invalid_type",
    ),
    (
        CreateMessage,
        message(role="system"),
        "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
        "role",
        "invalid_value",
    ),
    (
        CreateRun,
        run(tool_choice="never"),
        "Invalid value: 'never'. Supported values are: 'none', 'auto', and 'required'.",
        "tool_choice",
        "invalid_value",
    ),
    (
        CreateAssistant,
        assistant(response_format="json"),
        "Invalid value: 'json'. Supported values are: 'auto' and 'none'.",
        "response_format",
        "invalid_value",
    ),
    (
        CreateAssistant,
        assistant(metadata={"k": "v" * 600}),
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
        "but got a string with length 600 instead.",
        "metadata.k",
        "string_above_max_length",
    ),
    (
        CreateAssistant,
        assistant(metadata={"k" * 70: "v"}),
        "Invalid property name in 'metadata': 'kkk...kkk' is too long. Expected a string with maximum length 64, "
        "but got a string with length 70 instead.",
        f"metadata.{'k' * 70}",
        "property_name_above_max_length",
    ),
    (
        CreateAssistant,
        assistant(metadata={f"k{number}": "v" for number in range(17)}),
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
        "but got an object with 17 properties instead.",
        "metadata",
        "object_above_max_properties",
    ),
    (
        CreateMessage,
        message(content=[]),
        "Invalid 'content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        "content",
        "empty_array",
    ),
    (
        CreateMessage,
        message(content=""),
        "Invalid 'content': empty string. Expected a string with minimum length 1, but got an empty string instead.",
        "content",
        "empty_string",
    ),
    (
        CreateAssistant,
        assistant(tools=[{"type": "file_search", "file_search": {"max_num_results": 51}}]),
        "Invalid 'tools[0].file_search.max_num_results': integer above maximum value. "
        "Expected a value <= 50, but got 51 instead.",
        "tools[0].file_search.max_num_results",
        "integer_above_max_value",
    ),
    (
        CreateRun,
        run(max_completion_tokens=0),
        "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        "max_completion_tokens",
        "integer_below_min_value",
    ),
    (
        CreateAssistant,
        assistant(temperature=3),
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        "temperature",
        "decimal_above_max_value",
    ),
    (
        CreateAssistant,
        assistant(top_p=-0.5),
        "Invalid 'top_p': decimal below minimum value. Expected a value >= 0, but got -0.5 instead.",
        "top_p",
        "decimal_below_min_value",
    ),
    (
        CreateThreadAndRun,
        run(thread={"messages": [message(), message(role="tool")]}),
        "Invalid value: 'tool'. Supported values are: 'user' and 'assistant'.",
        "thread.messages[1].role",
        "invalid_value",
    ),
]


@pytest.mark.parametrize(("type_", "body", "text", "param", "code"), ATTESTED + VOCABULARY)
def test_a_fault_is_refused_in_the_services_words(
    type_: type[Body], body: dict[str, Any], text: str, param: str, code: str
) -> None:
    assert refusal(type_, body) == (text, param, code)
