"""Attribute filters over many files mean what they mean for one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.filters import matches
from understudy.core.limits import FILTER_PARTS_MAX
from understudy.retrieval.filters import AttributeColumns, FilterTooLarge, mask
from understudy.wire.vector_stores import (
    And,
    Attributes,
    Equal,
    Filter,
    Greater,
    GreaterOrEqual,
    In,
    Less,
    LessOrEqual,
    NotEqual,
    NotIn,
    Or,
)

keys = st.sampled_from(["year", "lang", "draft"])
values = st.one_of(
    st.sampled_from(["", "a", "b", "B", "é", "\ud800", "2024-01-31"]),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 2.5, 2**53, 2**53 + 1, 10**400, -(10**400), 1e308, -0.0]),
)
attributes = st.dictionaries(keys, values, max_size=3)
comparisons = st.one_of(
    *(st.builds(one, key=keys, value=values) for one in (Equal, NotEqual, Greater, GreaterOrEqual, Less, LessOrEqual)),
    *(st.builds(one, key=keys, value=st.lists(values, max_size=3)) for one in (In, NotIn)),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.one_of(*(st.builds(one, filters=st.lists(inner, max_size=3)) for one in (And, Or))),
    max_leaves=6,
)

FILES: list[Attributes] = [
    {"year": 2023, "lang": "en"},
    {"year": 2024.0, "lang": "de", "draft": True},
    {"year": "2024", "draft": False},
    {},
]


def found(where: str) -> list[int]:
    """The files that a filter, as JSON, lets through."""
    decoded = msgspec.json.decode(where, type=Filter)
    return [place for place, allowed in enumerate(mask(decoded, AttributeColumns(FILES))) if allowed]


@given(filters, st.lists(attributes, max_size=5))
def test_a_mask_is_what_each_file_says_by_itself(where: Filter, files: list[Attributes]) -> None:
    assert mask(where, AttributeColumns(files)).tolist() == [matches(where, one) for one in files]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('{"type": "eq", "key": "year", "value": 2024}', [1]),
        ('{"type": "eq", "key": "year", "value": "2024"}', [2]),
        ('{"type": "ne", "key": "year", "value": 2024}', [0, 2, 3]),
        ('{"type": "gt", "key": "year", "value": 2023}', [1]),
        ('{"type": "gte", "key": "year", "value": 2023}', [0, 1]),
        ('{"type": "lt", "key": "lang", "value": "e"}', [1]),
        ('{"type": "lte", "key": "lang", "value": "en"}', [0, 1]),
        ('{"type": "eq", "key": "draft", "value": true}', [1]),
        ('{"type": "eq", "key": "draft", "value": 1}', []),
        ('{"type": "gt", "key": "draft", "value": false}', []),
        ('{"type": "in", "key": "year", "value": [2023, "2024"]}', [0, 2]),
        ('{"type": "nin", "key": "lang", "value": ["en"]}', [1, 2, 3]),
        ('{"type": "in", "key": "lang", "value": []}', []),
        ('{"type": "gt", "key": "size", "value": 0}', []),
        ('{"type": "and", "filters": []}', [0, 1, 2, 3]),
        ('{"type": "or", "filters": []}', []),
    ],
)
def test_each_comparison(where: str, expected: list[int]) -> None:
    assert found(where) == expected


def test_filters_nest() -> None:
    english = '{"type": "eq", "key": "lang", "value": "en"}'
    drafts = '{"type": "and", "filters": [{"type": "eq", "key": "draft", "value": true}]}'
    assert found(f'{{"type": "or", "filters": [{english}, {drafts}]}}') == [0, 1]


def test_a_filter_that_is_too_large_is_refused() -> None:
    wide = Or(filters=[Equal(key="year", value=number) for number in range(FILTER_PARTS_MAX)])
    long = And(filters=[In(key="year", value=list(range(FILTER_PARTS_MAX)))])
    for where in (wide, long):
        with pytest.raises(FilterTooLarge):
            mask(where, AttributeColumns(FILES))


def test_no_files_need_no_attributes() -> None:
    assert mask(NotEqual(key="year", value=1), AttributeColumns([])).tolist() == []
