import pytest

from understudy.api.decode import decode_query
from understudy.core.errors import InvalidField
from understudy.wire.lists import IncludeQuery, ListMessagesQuery, ListQuery, ListStepsQuery

CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


def test_an_empty_query_gives_the_defaults() -> None:
    assert decode_query([], ListQuery) == ListQuery(limit=20, order="desc", after=None, before=None)


def test_numbers_and_words_are_read() -> None:
    pairs = [("limit", "100"), ("order", "asc"), ("after", "msg_1"), ("run_id", "run_1")]
    assert decode_query(pairs, ListMessagesQuery) == ListMessagesQuery(
        limit=100, order="asc", after="msg_1", run_id="run_1"
    )


@pytest.mark.parametrize("key", ["include[]", "include", "include[0]", "include[12]"])
def test_arrays_may_be_spelled_in_three_ways(key: str) -> None:
    assert decode_query([(key, CONTENT)], IncludeQuery).include == [CONTENT]


def test_all_items_of_an_array_are_kept() -> None:
    assert decode_query([("include[]", CONTENT)] * 2, ListStepsQuery).include == [CONTENT] * 2


def test_unknown_keys_are_ignored() -> None:
    pairs = [("api-version", "2024-05-01-preview"), ("limit[]", "5"), ("", "x")]
    assert decode_query(pairs, ListQuery) == ListQuery()


def test_empty_cursors_and_items_were_not_given() -> None:
    pairs = [("after", ""), ("before", ""), ("include[]", "")]
    assert decode_query(pairs, ListStepsQuery) == ListStepsQuery()


def test_of_a_parameter_given_twice_the_last_counts() -> None:
    assert decode_query([("limit", "1"), ("limit", "2")], ListQuery).limit == 2


@pytest.mark.parametrize(
    ("pair", "text", "param", "code"),
    [
        (
            ("limit", "ten"),
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            "limit",
            "invalid_type",
        ),
        (
            ("limit", "1" * 5000),
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            "limit",
            "invalid_type",
        ),
        (
            ("limit", "٣"),
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            "limit",
            "invalid_type",
        ),
        (
            ("limit", ""),
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            "limit",
            "invalid_type",
        ),
        (
            ("limit", "500"),
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 500 instead.",
            "limit",
            "integer_above_max_value",
        ),
        (
            ("limit", "-1"),
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got -1 instead.",
            "limit",
            "integer_below_min_value",
        ),
        (
            ("order", "foo"),
            "Invalid value: 'foo'. Supported values are: 'asc' and 'desc'.",
            "order",
            "invalid_value",
        ),
        (
            ("include[]", "all"),
            f"Invalid value: 'all'. Supported values are: '{CONTENT}'.",
            "include[0]",
            "invalid_value",
        ),
    ],
)
def test_a_fault_is_refused_in_the_services_words(pair: tuple[str, str], text: str, param: str, code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        decode_query([pair], ListStepsQuery)
    assert (caught.value.message, caught.value.param, caught.value.code) == (text, param, code)
