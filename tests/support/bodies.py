"""Hypothesis strategies for request bodies: valid ones, made from the structs themselves, and ones with a fault."""

import copy
import functools
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

JSON_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 600),
    st.just(10**30),
    st.floats(-3, 3, allow_nan=False),
    st.sampled_from(["", "a", "auto", "none", "function", "file_search", "text", "user", "asst_1", "x\n", "ä😀"]),
    st.sampled_from([64, 65, 256, 257, 512, 513]).map("k".__mul__),
)
JSON_VALUES = st.recursive(
    JSON_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a", "name"]), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["type", "name", "tool", "file_ids", "foo", "metadata", "content", "k" * 65])


@functools.cache
def valid_bodies(type_: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects that the struct accepts; optional keys are there, null or absent."""
    return _values(inspect.type_info(type_))


@functools.cache
def mutated_bodies(type_: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Valid bodies with one to three places changed: most are faulty, some happen to stay valid."""

    bodies = valid_bodies(type_)

    @st.composite
    def mutated(draw: st.DrawFn) -> dict[str, Any]:
        holder = {"body": copy.deepcopy(draw(bodies))}
        for _ in range(draw(st.integers(1, 3))):
            places = list(_places(holder["body"]))
            if not places:
                holder["body"][draw(NAMES)] = draw(JSON_VALUES)
                continue
            container, key = draw(st.sampled_from(places))
            _mutate(draw, container, key)
        return holder["body"]

    return mutated()


def _mutate(draw: st.DrawFn, container: Any, key: Any) -> None:
    match draw(st.sampled_from(["replace", "delete", "add", "repeat", "swell"])):
        case "delete":
            del container[key]
        case "add" if isinstance(container, dict):
            container[draw(NAMES)] = draw(JSON_VALUES)
        case "repeat" if isinstance(container, list):
            container.extend([container[key]] * draw(st.sampled_from([1, 2, 20, 130])))
        case "swell" if isinstance(container, dict):
            container.update({f"k{number}": "v" for number in range(draw(st.sampled_from([15, 16, 17])))})
        case _:
            container[key] = draw(JSON_VALUES)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield tree, key
        yield from _places(value)


def _values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.Metadata(type=inner):
            return _values(inner)
        case inspect.UnionType(types=types):
            return st.one_of(*map(_values, types))
        case inspect.ListType(item_type=item, min_length=least, max_length=most):
            return st.lists(_values(item), min_size=least or 0, max_size=min(most or 3, 3))
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key), _values(value), max_size=3)
        case inspect.StructType(cls=cls):
            return _of_struct(cls)
        case inspect.StrType():
            return _texts(type_)
        case _:
            return _leaves(type_)


def _texts(type_: inspect.StrType) -> st.SearchStrategy[str]:
    if type_.pattern is None:
        return st.sampled_from([text for text in ("", "a", "é😀", "k" * 64) if len(text) >= (type_.min_length or 0)])
    return st.sampled_from(["asst_1", "asst"] if type_.pattern == "^asst" else ["f", "get-weather_2", "k" * 64])


def _leaves(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.AnyType():
            return JSON_VALUES
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.IntType(ge=least, le=most):
            return st.integers(least, most)
        case inspect.FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False, allow_infinity=False) | st.integers(least, most)
        case _:
            raise TypeError(f"no strategy for {type_}")


@functools.cache
def _of_struct(cls: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Made when it is first drawn from: a struct may hold its own kind."""
    return st.deferred(lambda: _structs(inspect.type_info(cls)))


def _structs(type_: inspect.StructType) -> st.SearchStrategy[dict[str, Any]]:
    required = {field.encode_name: _values(field.type) for field in type_.fields if field.required}
    optional = {field.encode_name: _values(field.type) for field in type_.fields if not field.required}
    if type_.tag_field is not None:
        required[type_.tag_field] = st.just(type_.tag)
    return st.fixed_dictionaries(required, optional=optional)
