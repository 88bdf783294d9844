from typing import Any

import msgspec
import pytest

from support.refusals import assistant, function, message, refusal, run
from understudy.api.decode import decode_body
from understudy.core.errors import InvalidField
from understudy.core.limits import BODY_DEPTH_MAX, ECHO_LENGTH_MAX
from understudy.wire.assistants import CreateAssistant
from understudy.wire.base import Body
from understudy.wire.messages import CreateMessage
from understudy.wire.runs import CreateRun


def nested(depth: int) -> Any:
    tree: Any = "leaf"
    for level in range(depth):
        tree = [tree] if level % 2 else {"a": tree}
    return tree


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
