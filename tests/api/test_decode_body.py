from typing import Any

import msgspec
import pytest

from understudy.api.decode import decode_body
from understudy.core.errors import BadRequest, InvalidField
from understudy.core.limits import BODY_DEPTH_MAX, ECHO_LENGTH_MAX
from understudy.wire.assistants import CreateAssistant
from understudy.wire.base import Body
from understudy.wire.messages import CreateMessage
from understudy.wire.runs import CreateRun, CreateThreadAndRun, SubmitToolOutputs

SUPPORTED_TOOLS = "Supported values are: 'code_interpreter', 'function', and 'file_search'."


def refusal(type_: type[Body], body: dict[str, Any] | bytes, **options: Any) -> tuple[str, str | None, str | None]:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(BadRequest) as caught:
        decode_body(raw, type_, **options)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value.message, caught.value.param, caught.value.code


def assistant(**fields: Any) -> dict[str, Any]:
    return {"model": "m", **fields}


def message(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": "Hello", **fields}


def run(**fields: Any) -> dict[str, Any]:
    return {"assistant_id": "asst_1", **fields}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


def nested(depth: int) -> Any:
    tree: Any = "leaf"
    for level in range(depth):
        tree = [tree] if level % 2 else {"a": tree}
    return tree


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


def test_missing_comes_before_unknown_comes_before_the_rest() -> None:
    faults: dict[str, Any] = {"temperature": 3, "zebra": 1}
    assert refusal(CreateAssistant, faults)[2] == "missing_required_parameter"
    assert refusal(CreateAssistant, assistant(**faults))[2] == "unknown_parameter"
    del faults["zebra"]
    assert refusal(CreateAssistant, assistant(**faults))[2] == "decimal_above_max_value"


def test_of_two_faulty_fields_the_one_declared_first_is_named() -> None:
    assert refusal(CreateAssistant, assistant(top_p=2, temperature=3))[1] == "temperature"


def test_null_for_an_optional_field_is_not_given() -> None:
    fields = dict.fromkeys(["name", "tools", "tool_resources", "metadata", "temperature", "response_format"])
    body = decode_body(msgspec.json.encode(assistant(**fields)), CreateAssistant)
    assert body == CreateAssistant(model="m")


def test_an_integer_is_a_decimal() -> None:
    assert decode_body(b'{"model": "m", "temperature": 2}', CreateAssistant).temperature == 2.0


def test_limits_count_characters_not_bytes() -> None:
    content = "😀" * 256_000
    assert decode_body(msgspec.json.encode(message(content=content)), CreateMessage).content == content


def test_of_a_key_given_twice_the_last_counts() -> None:
    assert decode_body(b'{"model": "a", "model": "b"}', CreateAssistant).model == "b"
    assert decode_body(b'{"model": 7, "model": "b"}', CreateAssistant).model == "b"
    assert refusal(CreateAssistant, b'{"model": "a", "model": 7}')[1] == "model"
    tagged = b'{"model": "m", "tools": [{"type": "retrieval", "type": "code_interpreter"}]}'
    assert decode_body(tagged, CreateAssistant).tools


def test_lenient_drops_unknown_keys_at_every_depth_and_nothing_else() -> None:
    body = assistant(
        zebra=1,
        tools=[{**function(zebra=2, parameters={"zebra": 3}), "cache_control": {}}],
        tool_resources={"file_search": {"vector_stores": [{"zebra": 4, "metadata": {"zebra": "5"}}]}},
        response_format={"type": "text", "zebra": 6},
    )
    decoded = decode_body(msgspec.json.encode(body), CreateAssistant, lenient=True)
    assert b"cache_control" not in msgspec.json.encode(decoded)
    assert msgspec.json.encode(decoded).count(b"zebra") == 2
    assert refusal(CreateAssistant, assistant(zebra=1, temperature=3), lenient=True)[1] == "temperature"


UNREADABLE: list[tuple[bytes, str]] = [
    (b"", "it was empty"),
    (b"  \n", "it was empty"),
    (b'{"assistant_id": ', "what was sent was not valid JSON"),
    (b'{"assistant_id": "asst_1",}', "what was sent was not valid JSON: trailing comma in object (byte 26)"),
    (b'{"metadata": {"k": NaN}}', "what was sent was not valid JSON: invalid character (byte 19)"),
    (b'{"model": "\\ud800"}', "what was sent was not valid JSON"),
    (b'{"model": "\\udc00"}', "what was sent was not valid JSON: invalid utf-16 surrogate pair (byte 17)"),
    (b'{"model": "\xff"}', "what was sent was not valid UTF-8"),
    (b'{"model": "\xed\xa0\x80"}', "what was sent was not valid UTF-8"),
    (b'{"temperature": 1e400}', "a number in it is out of range"),
    (b'{"temperature": %s}' % (b"1" * 5000), "a number in it is out of range"),
    (b"[]", "what was sent was an array"),
    (b"null", "what was sent was null"),
    (b'"text"', "what was sent was a string"),
    (b"[" * 100_000, "what was sent is nested 100000 levels deep, and 64 is the limit"),
]


@pytest.mark.parametrize(("raw", "reason"), UNREADABLE)
def test_what_is_no_json_object_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    text, param, code = refusal(CreateRun, raw)
    assert text.startswith("We could not parse the JSON body of your request. ")
    assert text.endswith(f"but {reason}.)")
    assert (param, code) == (None, None)


def test_a_body_may_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    # The body, `tools`, the tool, its function and the parameters are the outermost five levels.
    def body(depth: int) -> bytes:
        return msgspec.json.encode(assistant(tools=[function(parameters={"a": nested(depth - 5)})]))

    assert decode_body(body(BODY_DEPTH_MAX), CreateAssistant).tools
    assert "nested 65 levels deep" in refusal(CreateAssistant, body(BODY_DEPTH_MAX + 1))[0]


def test_brackets_within_strings_are_no_nesting() -> None:
    content = '[{"\\' * 5000
    assert decode_body(msgspec.json.encode(message(content=content)), CreateMessage).content == content


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (CreateAssistant, assistant(**{"k" * 100_000: 1})),
        (CreateAssistant, assistant(metadata={"k" * 100_000: "v"})),
        (CreateMessage, message(role="u" * 100_000)),
        (CreateRun, run(assistant_id="u" * 100_000)),
        (CreateAssistant, assistant(temperature=int("9" * 300) * 10**300)),
    ],
)
def test_a_refusal_repeats_no_more_of_the_request_than_a_client_can_read(
    type_: type[Body], body: dict[str, Any]
) -> None:
    raw = msgspec.json.encode(body)
    with pytest.raises(InvalidField) as caught:
        decode_body(raw, type_)
    assert len(caught.value.message) < ECHO_LENGTH_MAX + 300
    assert caught.value.param is not None
    assert len(caught.value.param) < ECHO_LENGTH_MAX + 300
