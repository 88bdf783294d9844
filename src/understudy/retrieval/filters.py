"""Attribute filters over many files at once: a mask with a place for each file.

What a comparison means, where the vendor's description leaves it open:

- Texts compare with texts, by code points; numbers with numbers, as doubles; true and false only with each other, and
  neither is greater. A comparison across these kinds is false.
- A file without the attribute matches no comparison but `ne` and `nin`, which are the opposites of `eq` and `in`.
- `and` of nothing holds, `or` of nothing does not.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from understudy.core.limits import FILTER_PARTS_MAX
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
    Scalar,
)

__all__ = ["AttributeColumns", "FilterTooLarge", "mask"]

Mask = NDArray[np.bool_]

_MISSING: Final = 0
_TEXT: Final = 1
_NUMBER: Final = 2
_BOOLEAN: Final = 3

_COMPARED: Final = {  # by: above, equal
    (True, True): np.greater_equal,
    (True, False): np.greater,
    (False, True): np.less_equal,
    (False, False): np.less,
}


class FilterTooLarge(ValueError):
    """More comparisons, and values in lists, than `FILTER_PARTS_MAX`."""


class _Column:
    """One attribute of all files. `numbers` has the number, 0 or 1, or the text's place among the sorted `texts`."""

    def __init__(self, values: Sequence[Scalar | None]) -> None:
        self.texts = sorted({value for value in values if isinstance(value, str)})
        self.places = {text: float(place) for place, text in enumerate(self.texts)}
        self.kinds = np.fromiter(map(_kind, values), np.uint8, len(values))
        self.numbers = np.fromiter((_number(value, self.places) for value in values), np.float64, len(values))

    def among(self, wanted: Sequence[Scalar]) -> Mask:
        """Which files have one of these values."""
        found = np.zeros(len(self.kinds), np.bool_)
        for kind in (_TEXT, _NUMBER, _BOOLEAN):
            numbers = [_number(value, self.places) for value in wanted if _kind(value) == kind]
            if numbers:
                found |= (self.kinds == kind) & np.isin(self.numbers, numbers)
        return found

    def between(self, value: Scalar, *, above: bool, equal: bool) -> Mask:
        """Which files have more than the value, or less; or just as much, where `equal`."""
        if isinstance(value, bool):
            return self.among([value]) if equal else np.zeros(len(self.kinds), np.bool_)
        if isinstance(value, str):
            # The value's own place is between two of them when no file has it.
            bound: float = (bisect_left if above == equal else bisect_right)(self.texts, value)
            equal = above
        else:
            bound = _number(value, {})
        compare = _COMPARED[above, equal]
        found: Mask = (self.kinds == _kind(value)) & compare(self.numbers, bound)
        return found


class AttributeColumns:
    """The attributes of files, in the files' order, made ready one by one as filters ask for them."""

    def __init__(self, attributes: Sequence[Attributes]) -> None:
        self._attributes = attributes
        self._columns: dict[str, _Column] = {}

    def __len__(self) -> int:
        return len(self._attributes)

    def of(self, key: str) -> _Column | None:
        """`None`: no file has the attribute."""
        found = self._columns.get(key)
        if found is None and any(key in one for one in self._attributes):
            # Two threads may both make it: they make the same.
            found = self._columns[key] = _Column([one.get(key) for one in self._attributes])
        return found


def mask(where: Filter, columns: AttributeColumns) -> Mask:
    """Which files match. Raises `FilterTooLarge`."""
    if _parts(where) > FILTER_PARTS_MAX:
        raise FilterTooLarge(f"a filter of more than {FILTER_PARTS_MAX} parts")
    return _mask(where, columns)


def _parts(where: Filter) -> int:
    match where:
        case And(filters=parts) | Or(filters=parts):
            return 1 + sum(map(_parts, parts))
        case In(value=values) | NotIn(value=values):
            return 1 + len(values)
        case _:
            return 1


def _mask(where: Filter, columns: AttributeColumns) -> Mask:
    match where:
        case And(filters=parts):
            every = np.ones(len(columns), np.bool_)
            for part in parts:
                every &= _mask(part, columns)
            return every
        case Or(filters=parts):
            some = np.zeros(len(columns), np.bool_)
            for part in parts:
                some |= _mask(part, columns)
            return some
        case NotEqual(key=key, value=value):
            return ~_compared(Equal(key=key, value=value), columns.of(key), len(columns))
        case NotIn(key=key, value=values):
            return ~_compared(In(key=key, value=values), columns.of(key), len(columns))
        case _:
            return _compared(where, columns.of(where.key), len(columns))


def _compared(
    where: Equal | Greater | GreaterOrEqual | Less | LessOrEqual | In, column: _Column | None, count: int
) -> Mask:
    if column is None:
        return np.zeros(count, np.bool_)
    match where:
        case Equal(value=value):
            return column.among([value])
        case In(value=values):
            return column.among(values)
        case Greater(value=value):
            return column.between(value, above=True, equal=False)
        case GreaterOrEqual(value=value):
            return column.between(value, above=True, equal=True)
        case Less(value=value):
            return column.between(value, above=False, equal=False)
        case LessOrEqual(value=value):
            return column.between(value, above=False, equal=True)


def _kind(value: Scalar | None) -> int:
    match value:
        case None:
            return _MISSING
        case str():
            return _TEXT
        case bool():
            return _BOOLEAN
        case _:
            return _NUMBER


def _number(value: Scalar | None, places: Mapping[str, float]) -> float:
    """A text that no file has is at no place."""
    if value is None:
        return -1.0
    if isinstance(value, str):
        return places.get(value, -1.0)
    try:
        return float(value)
    except OverflowError:  # JSON's whole numbers have no bounds
        return float("inf") if value > 0 else float("-inf")
