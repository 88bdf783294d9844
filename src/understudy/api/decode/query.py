"""From a URL's query to a struct of `understudy.wire.lists`."""

import re
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from understudy.api.decode.annotations import record_of
from understudy.api.decode.body import JsonObject, convert
from understudy.api.decode.rules import Array, Decimal, Field, Integer, Map

T = TypeVar("T", bound=msgspec.Struct)

_ENTRY: Final = re.compile(r"(?P<name>\w+)\[(?P<key>[^\]]+)\]\Z")
_BRACKETS: Final = re.compile(r"\[\d*\]\Z")
# More digits than any limit has, fewer than Python takes long to read.
_INTEGER: Final = re.compile(r"-?[0-9]{1,100}\Z")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?\Z")


def decode_query(pairs: Iterable[tuple[str, str]], type_: type[T]) -> T:
    """The query's parameters as their struct.

    Unknown keys (`api-version`, say) are ignored. An array's items come as `include[]=`, `include=` or `include[0]=`,
    a map's entries as `metadata[KEY]=`; of anything else that is given twice the last one counts. An empty cursor, or
    an empty item, was not given. Raises `InvalidField`.
    """
    fields = record_of(type_).fields
    query: JsonObject = {}
    for key, value in pairs:
        entry = _ENTRY.match(key)
        if entry is not None and _is_map(fields.get(entry["name"])):
            entries = query.setdefault(entry["name"], {})
            assert isinstance(entries, dict)
            entries[entry["key"]] = value
            continue
        name = _BRACKETS.sub("", key)
        field = fields.get(name)
        if field is None or _is_map(field):
            continue
        if isinstance(field.rule, Array):
            items = query.setdefault(name, [])
            if value and isinstance(items, list):
                items.append(value)
        elif name == key and (value or not field.nullable):
            query[name] = _read(field, value)
    return convert(query, type_, lenient=False)


def _read(field: Field, value: str) -> object:
    if isinstance(field.rule, Integer) and _INTEGER.match(value):
        return int(value)
    if isinstance(field.rule, Decimal) and _DECIMAL.match(value):
        return float(value)
    return value


def _is_map(field: Field | None) -> bool:
    return field is not None and isinstance(field.rule, Map)
