"""The code in a call's arguments, in every form that models write."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.chat.code_input import CodeInput, read_code

CODE = 'x = {"a": "b\\n"}\nprint(x["a"])  # 漢 \U0001f600\n'


def fed(*pieces: str) -> str:
    read = CodeInput()
    told = "".join([*(read.feed(piece) for piece in pieces), read.finish()])
    assert read.code == told
    return told


@pytest.mark.parametrize(
    "arguments",
    [
        json.dumps({"code": CODE}),
        json.dumps({"code": CODE}, ensure_ascii=False),
        json.dumps({"input": CODE}, indent=2),
        json.dumps({"language": "python", "code": CODE}),
        json.dumps({"code": CODE, "reset": False}),
        json.dumps(CODE),
        CODE,
    ],
)
def test_code_comes_out_of_json_and_bare(arguments: str) -> None:
    assert fed(arguments) == fed(*arguments) == CODE


@pytest.mark.parametrize(
    "arguments",
    [
        "```python\nprint(1)\n```",
        "```\nprint(1)\n```\n",
        "\n```py\nprint(1)\n  ```  \nThat prints one.",
        "```python\nprint(1)",
        "```print(1)```",
        "```python print(1)```",
        json.dumps({"code": "```python\nprint(1)\n```"}),
        '{"code": "print(1)"',
        '{"code": "print(1)',
    ],
)
def test_code_comes_out_of_fences_and_of_what_breaks_off(arguments: str) -> None:
    assert fed(arguments) == fed(*arguments) == "print(1)"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"a": 1}["a"]', '{"a": 1}["a"]'),
        ('"text".upper()', '"text".upper()'),
        ('{"other": "print(1)"}', '{"other": "print(1)"}'),
        ('{"code": 3}', '{"code": 3}'),
        ('{"code": "a\nb"}', "a\nb"),
        ('{"code": "re.match(\'\\d\')"}', "re.match('\\d')"),
        ('{"code": "\\ud83d\\ude00 \\ud83d"}', "\U0001f600 �"),
        ('{"code": "a\\\\"}', "a\\"),
        ("", ""),
        ("  ", "  "),
        ("``", "``"),
        ("```python\n```", ""),
    ],
)
def test_what_only_looks_like_something_else_stays_what_it_is(arguments: str, code: str) -> None:
    assert fed(arguments) == fed(*arguments) == code


def test_code_in_json_streams_while_it_is_written() -> None:
    read = CodeInput()
    assert [read.feed(piece) for piece in ('{"co', 'de": "pri', "nt(1)\\", 'n"}')] == ["", "pri", "nt(1)", "\n"]


@given(
    st.lists(
        st.sampled_from(['{"code": "', '"', "\\n", "\\", "u", "d83d", "de00", "`", "```", "\n", "x", "}", " "])
    ).map("".join),
    st.lists(st.integers(min_value=0, max_value=80), max_size=8),
)
def test_however_arguments_are_cut_the_same_code_comes_out(arguments: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(arguments)) for cut in cuts), len(arguments)]
    assert fed(*(arguments[start:end] for start, end in pairwise(places))) == read_code(arguments)


@given(st.text())
def test_any_code_in_json_comes_out_as_it_was(code: str) -> None:
    if "```" not in code and code.strip("` \n\t\r\x0b\x0c"):
        assert fed(*json.dumps({"code": code})) == code
