from itertools import count
from typing import Any

import pytest

from support.model_directives import directed, pieces
from support.model_replies import Answer, Cut, Failure, Refuse, Reply, Silence


def answer(*messages: str | dict[str, Any]) -> Answer:
    numbers = count(1)
    listed = [message if isinstance(message, dict) else {"role": "user", "content": message} for message in messages]
    return directed({"messages": listed}, lambda: f"call_{next(numbers)}")


def reply(*messages: str | dict[str, Any]) -> Reply:
    found = answer(*messages)
    assert isinstance(found, Reply)
    return found


@pytest.mark.parametrize("text", ["Hello there", "one", " two  spaces ", "line\nbreak\n", "ünï 🎭 code", ""])
def test_pieces_joined_give_the_text_back(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_a_message_without_directive_is_echoed() -> None:
    assert reply("Hi there").parts == ("Hi", " there")


def test_the_last_directive_of_the_last_user_message_counts() -> None:
    assert reply("@fail 500", "Please:\n@say no\n@say yes sir").parts == ("yes", " sir")


def test_directives_are_found_in_text_parts() -> None:
    parts = [{"type": "text", "text": "@say ok"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    assert reply({"role": "user", "content": parts}).parts == ("ok",)


def test_call_makes_one_call_and_calls_several() -> None:
    (call,) = reply('@call get_weather {"city": "Paris"}').calls
    assert (call.id, call.name, call.arguments) == ("call_1", "get_weather", '{"city": "Paris"}')
    several = reply('@calls [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"x": 1}}]').calls
    assert [(call.id, call.name, call.arguments) for call in several] == [
        ("call_1", "f", "{}"),
        ("call_2", "g", '{"x": 1}'),
    ]


def test_saycall_speaks_before_it_calls() -> None:
    found = reply("@saycall f {}")
    assert found.parts[0] == "Let"
    assert [call.name for call in found.calls] == ["f"]


def test_tool_outputs_are_quoted() -> None:
    outputs = [{"role": "tool", "tool_call_id": "a", "content": "18 C"}, {"role": "tool", "content": "rain"}]
    assert "".join(map(str, reply("@call f", *outputs).parts)) == "The tools say: 18 C; rain"


def test_the_other_directives_say_how_it_ends() -> None:
    assert reply("@refuse I cannot").parts == (Refuse("I"), Refuse(" cannot"))
    assert reply("@length cut short").finish == "length"
    assert reply("@filter cut short").finish == "content_filter"
    assert reply("@cut one").parts == ("one", Cut())
    assert reply("@hang").parts == (Silence(),)
    failure = answer("@fail 429 Slow down.")
    assert isinstance(failure, Failure)
    assert (failure.status, failure.message) == (429, "Slow down.")


def test_an_unknown_directive_is_an_error() -> None:
    failure = answer("@sing a song")
    assert isinstance(failure, Failure)
    assert failure.status == 400
