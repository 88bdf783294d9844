"""What the local model is asked, and how its forced answers become tool calls."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from understudy.models.local_chat import Adapted, CallWriter, adapt
from understudy.ports import ModelError
from understudy.wire.chat import ChatFunction, ChatRequest, Chunk, ChunkChoice, ChunkDelta, ChunkUsage

WEATHER = {
    "name": "get_weather",
    "description": "Gets the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "get_time"}


def asked(*messages: dict[str, Any], functions: Sequence[dict[str, Any]] = (), **settings: Any) -> Adapted:
    tools = {"tools": [{"function": function} for function in functions]} if functions else {}
    request = {"model": "gpt-4o", "messages": list(messages or [user("Hi")]), **tools, **settings}
    return adapt(msgspec.convert(request, ChatRequest), model="tiny")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(*calls: tuple[str, str, str], content: str | None = None) -> dict[str, Any]:
    tool_calls = [{"id": id_, "function": {"name": name, "arguments": text}} for id_, name, text in calls]
    return {"role": "assistant", "tool_calls": tool_calls} | ({} if content is None else {"content": content})


def output(id_: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": text}


def told(adapted: Adapted) -> list[tuple[str, object]]:
    return [(message.role, message.content) for message in adapted.request.messages]


def test_every_model_name_is_served_by_this_model() -> None:
    assert asked().request.model == "tiny"


def test_sampling_settings_pass_through() -> None:
    request = asked(temperature=0.7, top_p=0.5, max_tokens=9).request
    assert (request.temperature, request.top_p, request.max_tokens) == (0.7, 0.5, 9)


def test_an_answer_of_unsaid_length_is_bounded() -> None:
    assert asked().request.max_tokens == 1024


def test_a_response_format_passes_through() -> None:
    assert asked(response_format={"type": "json_object"}).request.response_format == {"type": "json_object"}


@pytest.mark.parametrize("choice", ["auto", UNSET])
def test_tools_that_are_not_forced_are_left_out_and_counted(choice: object) -> None:
    settings = {} if choice is UNSET else {"tool_choice": choice}
    adapted = asked(functions=[WEATHER, CLOCK], parallel_tool_calls=False, **settings)
    assert adapted.tools_left_out == 2
    assert adapted.forced == ()
    assert adapted.request.tools is UNSET
    assert adapted.request.tool_choice is UNSET
    assert adapted.request.parallel_tool_calls is UNSET
    assert adapted.request.response_format is UNSET


def test_tools_that_were_not_to_be_called_anyway_are_not_counted() -> None:
    assert asked(functions=[WEATHER], tool_choice="none").tools_left_out == 0


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_function_is_asked_for_by_its_schema(choice: object) -> None:
    adapted = asked(functions=[WEATHER], tool_choice=choice, response_format={"type": "json_object"})
    assert [function.name for function in adapted.forced] == ["get_weather"]
    assert adapted.tools_left_out == 0
    assert adapted.request.response_format["json_schema"]["schema"] == WEATHER["parameters"]
    role, text = told(adapted)[0]
    assert role == "system"
    assert "get_weather: Gets the weather." in str(text)


def test_the_instruction_joins_the_system_message_that_is_there() -> None:
    adapted = asked({"role": "system", "content": "Be kind."}, user("Hi"), functions=[CLOCK], tool_choice="required")
    assert [role for role, _ in told(adapted)] == ["system", "user"]
    assert str(told(adapted)[0][1]).startswith("Be kind.\n\nAnswer with")


def test_one_of_several_functions_is_forced_by_name() -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    adapted = asked(functions=[CLOCK, WEATHER], tool_choice=choice)
    assert [function.name for function in adapted.forced] == ["get_weather"]


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    schema = asked(functions=[CLOCK], tool_choice="required").request.response_format["json_schema"]["schema"]
    assert schema == {"type": "object", "properties": {}, "additionalProperties": False}


def test_required_with_several_functions_is_a_choice_of_names_and_arguments() -> None:
    adapted = asked(functions=[WEATHER, CLOCK], tool_choice="required")
    schema = adapted.request.response_format["json_schema"]["schema"]
    assert [choice["properties"]["name"] for choice in schema["anyOf"]] == [
        {"const": "get_weather"},
        {"const": "get_time"},
    ]
    assert [list(choice["properties"]) for choice in schema["anyOf"]] == [["name", "arguments"]] * 2
    assert schema["$defs"]["0"] == WEATHER["parameters"]


def test_references_within_one_function_of_several_still_lead_to_their_place() -> None:
    parameters = {
        "type": "object",
        "properties": {"from": {"$ref": "#/$defs/place"}, "$ref": {"type": "string"}},
        "$defs": {"place": {"type": "string"}},
    }
    adapted = asked(functions=[CLOCK, {"name": "travel", "parameters": parameters}], tool_choice="required")
    moved = adapted.request.response_format["json_schema"]["schema"]["$defs"]["1"]
    assert moved["properties"] == {"from": {"$ref": "#/$defs/1/$defs/place"}, "$ref": {"type": "string"}}


def test_a_forced_function_that_is_no_tool_is_an_error() -> None:
    with pytest.raises(ModelError, match="'other'"):
        asked(functions=[WEATHER], tool_choice={"type": "function", "function": {"name": "other"}})


def test_calls_and_their_outputs_are_told_in_words() -> None:
    adapted = asked(
        user("What is the weather?"),
        called(("call_a", "get_weather", '{"city":"Rome"}'), ("call_b", "get_time", "{}"), content="Let me look."),
        output("call_b", "noon"),
        output("call_a", "18 C"),
        {"role": "assistant", "content": "18 C at noon."},
        user("And tomorrow?"),
    )
    assert told(adapted) == [
        ("user", "What is the weather?"),
        (
            "assistant",
            'Let me look.\nI used get_weather with {"city":"Rome"}, and the result is: 18 C\n'
            "I used get_time with {}, and the result is: noon",
        ),
        ("assistant", "18 C at noon."),
        ("user", "And tomorrow?"),
    ]


def test_outputs_at_the_end_ask_for_an_answer() -> None:
    adapted = asked(user("Time?"), called(("call_a", "get_time", "{}")), output("call_a", "noon"))
    assert told(adapted)[1:] == [
        ("assistant", "I used get_time with {}, and the result is: noon"),
        ("user", "Answer my question with this result."),
    ]


def test_a_call_without_its_output_is_told_too() -> None:
    adapted = asked(user("Time?"), called(("call_a", "get_time", "{}")), user("Well?"))
    assert told(adapted)[1] == ("assistant", "I used get_time with {}.")


def test_images_are_left_out_and_counted() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "http://example.com/a.png"}},
        {"type": "text", "text": "Be brief."},
    ]
    adapted = asked({"role": "user", "content": parts})
    assert told(adapted) == [("user", "What is this?\nBe brief.")]
    assert adapted.images_left_out == 1


# --- the answer


def function(name: str) -> ChatFunction:
    return ChatFunction(name=name)


def written(writer: CallWriter, pieces: Sequence[str], finish_reason: str = "stop") -> list[Chunk]:
    chunks = [Chunk(choices=[ChunkChoice(delta=ChunkDelta(content=piece))]) for piece in ["", *pieces]]
    chunks.append(Chunk(choices=[ChunkChoice(finish_reason=finish_reason)]))
    chunks.append(Chunk(usage=ChunkUsage(prompt_tokens=3, completion_tokens=4)))
    return [out for chunk in chunks if (out := writer.write(chunk)) is not None]


def call_of(chunks: Sequence[Chunk]) -> tuple[list[str], list[str], str]:
    """The ids, the names, and the arguments put together."""
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    functions = [call.function for call in calls if call.function is not None]
    assert {call.index for call in calls} <= {0}
    ids = [call.id for call in calls if call.id is not None]
    names = [function.name for function in functions if function.name is not None]
    return ids, names, "".join(function.arguments or "" for function in functions)


def test_a_forced_answer_becomes_a_call_whose_arguments_stream() -> None:
    chunks = written(CallWriter([function("f")], lambda kind: f"{kind}_1"), ['{"a"', ": 1", "}"])
    assert call_of(chunks) == (["call_1"], ["f"], '{"a": 1}')
    assert len(chunks) == 5
    assert chunks[3].choices[0].finish_reason == "tool_calls"
    assert chunks[4].usage == ChunkUsage(prompt_tokens=3, completion_tokens=4)
    assert all(choice.delta.content is None for chunk in chunks for choice in chunk.choices)


def test_a_cut_off_answer_keeps_its_finish_reason() -> None:
    chunks = written(CallWriter([function("f")], lambda kind: kind), ['{"a'], "length")
    assert chunks[1].choices[0].finish_reason == "length"


@given(
    name=st.sampled_from(["f", "get-it_2"]),
    arguments=st.dictionaries(st.text(), st.recursive(st.none() | st.text(), st.lists, max_leaves=5), max_size=3),
    indent=st.sampled_from([None, 2]),
    cut=st.integers(1, 9),
)
def test_a_chosen_function_is_found_however_the_text_is_cut(
    name: str, arguments: dict[str, object], indent: int | None, cut: int
) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, indent=indent)
    pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
    chunks = written(CallWriter([function("f"), function("get-it_2")], lambda kind: kind), pieces)
    ids, names, found = call_of(chunks)
    assert (ids, names) == (["call"], [name])
    assert json.loads(found) == arguments
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
