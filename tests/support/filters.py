"""What a filter means, written down as plainly as can be: one file at a time."""

from collections.abc import Mapping
from operator import ge, gt, le, lt

from understudy.wire.vector_stores import (
    And,
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

__all__ = ["matches"]

ORDER = {Greater: gt, GreaterOrEqual: ge, Less: lt, LessOrEqual: le}


def matches(where: Filter, attributes: Mapping[str, Scalar]) -> bool:
    match where:
        case And(filters=parts):
            return all(matches(part, attributes) for part in parts)
        case Or(filters=parts):
            return any(matches(part, attributes) for part in parts)
        case Equal(key=key, value=value):
            return key in attributes and same(attributes[key], value)
        case NotEqual(key=key, value=value):
            return not (key in attributes and same(attributes[key], value))
        case In(key=key, value=values):
            return key in attributes and any(same(attributes[key], value) for value in values)
        case NotIn(key=key, value=values):
            return not (key in attributes and any(same(attributes[key], value) for value in values))
        case _:
            if where.key not in attributes:
                return False
            found, wanted = attributes[where.key], where.value
            if kind(found) is bool is kind(wanted):
                return isinstance(where, GreaterOrEqual | LessOrEqual) and found is wanted
            return kind(found) is kind(wanted) and ORDER[type(where)](plain(found), plain(wanted))


def same(one: Scalar, other: Scalar) -> bool:
    return kind(one) is kind(other) and plain(one) == plain(other)


def kind(value: Scalar) -> type:
    return type(value) if isinstance(value, str | bool) else float


def plain(value: Scalar) -> Scalar:
    """Numbers are doubles, as in JavaScript, whatever JSON can write."""
    if isinstance(value, str | bool):
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
