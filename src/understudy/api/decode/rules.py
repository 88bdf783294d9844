"""What a request's values must be, as a tree of small rules, and what is wrong with a value that broke one.

The rules say again what msgspec checks by itself from the same annotations: msgspec is fast and decides, the rules
are slow and explain. They must agree on every value; a property test holds them to it.
"""

import difflib
import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec import Struct

from understudy.core import refusals

# A key that is longer than this was not meant to be a parameter's name; comparing it with them all would be dear.
_GUESSED_NAME_LENGTH_MAX: Final = 64
_GUESS_LIKENESS_MIN: Final = 0.75


class Text(Struct, frozen=True, kw_only=True):
    """`pattern` is what is matched, `pattern_shown` what a refusal calls it."""

    json_types: ClassVar[frozenset[type]] = frozenset({str})
    words: ClassVar[str] = "a string"
    nonempty: bool = False
    length_max: int | None = None
    pattern: re.Pattern[str] | None = None
    pattern_shown: str = ""
    id_prefix: str | None = None


class Choice(Struct, frozen=True, kw_only=True):
    """One of a closed set of strings, in the order in which a refusal names them."""

    json_types: ClassVar[frozenset[type]] = frozenset({str})
    words: ClassVar[str] = "a string"
    values: tuple[str, ...]


class Integer(Struct, frozen=True, kw_only=True):
    json_types: ClassVar[frozenset[type]] = frozenset({int})
    words: ClassVar[str] = "an integer"
    kind: ClassVar[Literal["integer"]] = "integer"
    least: float | None = None
    most: float | None = None


class Decimal(Struct, frozen=True, kw_only=True):
    json_types: ClassVar[frozenset[type]] = frozenset({int, float})
    words: ClassVar[str] = "a decimal"
    kind: ClassVar[Literal["decimal"]] = "decimal"
    least: float | None = None
    most: float | None = None


class Boolean(Struct, frozen=True, kw_only=True):
    json_types: ClassVar[frozenset[type]] = frozenset({bool})
    words: ClassVar[str] = "a boolean"


class Anything(Struct, frozen=True, kw_only=True):
    json_types: ClassVar[frozenset[type]] = frozenset({str, bool, int, float, list, dict, type(None)})
    words: ClassVar[str] = "anything"


class Array(Struct, frozen=True, kw_only=True):
    json_types: ClassVar[frozenset[type]] = frozenset({list})
    items: "Rule"
    nonempty: bool = False
    length_max: int | None = None

    @property
    def words(self) -> str:
        return f"an array of {without_article(self.items.words)}s"


class Map(Struct, frozen=True, kw_only=True):
    """An object whose keys are the client's own. Only their number and length are bounded."""

    json_types: ClassVar[frozenset[type]] = frozenset({dict})
    words: str = "an object"
    values: "Rule"
    count_max: int | None = None
    key_length_max: int | None = None


class Field(Struct, frozen=True, kw_only=True):
    """`nullable`: `null` stands for "not given"."""

    rule: "Rule"
    required: bool
    nullable: bool


class Record(Struct, frozen=True, kw_only=True):
    """An object with these keys and no others. `tag_field` is the key that told it from its siblings, if any."""

    json_types: ClassVar[frozenset[type]] = frozenset({dict})
    words: ClassVar[str] = "an object"
    fields: Mapping[str, Field]
    tag_field: str | None = None


class Tagged(Struct, frozen=True, kw_only=True):
    """One of several records, told apart by a key."""

    json_types: ClassVar[frozenset[type]] = frozenset({dict})
    words: ClassVar[str] = "an object"
    tag_field: str
    records: Mapping[str, Record]


class OneOf(Struct, frozen=True, kw_only=True):
    """One of several rules, told apart by the JSON type of the value."""

    options: tuple["Rule", ...]

    @property
    def json_types(self) -> frozenset[type]:
        return frozenset[type]().union(*(option.json_types for option in self.options))

    @property
    def words(self) -> str:
        first, *others = (option.words for option in self.options)
        return f"one of {refusals.listed([first, *map(without_article, others)], 'or')}"


Rule: TypeAlias = Text | Choice | Integer | Decimal | Boolean | Anything | Array | Map | Record | Tagged | OneOf


def without_article(words: str) -> str:
    return words.partition(" ")[2]


# --- what is wrong


def check(rule: Rule, value: object, path: str) -> None:
    """Raises `InvalidField` for the first fault, in the service's order: at each object a missing key, then an
    unknown one, then the fields one by one."""
    if type(value) not in rule.json_types:
        raise refusals.wrong_type(path, rule.words, value)
    match rule, value:
        case Text() as text, str() as given:
            _check_text(text, given, path)
        case Choice(values=values), str() as given:
            if given not in values:
                raise refusals.wrong_value(path, given, values)
        case (Integer() | Decimal()) as number, (int() | float()) as given:
            _check_number(number, given, path)
        case Array() as array, list() as items:
            _check_array(array, items, path)
        case Map() as map_, dict() as entries:
            _check_map(map_, entries, path)
        case Record() as record, dict() as entries:
            _check_record(record, entries, path)
        case Tagged() as tagged, dict() as entries:
            _check_record(_record_of(tagged, entries, path), entries, path)
        case OneOf() as one_of, _:
            check(_option_of(one_of, value), value, path)
        case _:
            pass


def _check_text(rule: Text, text: str, path: str) -> None:
    if rule.nonempty and not text:
        raise refusals.empty_string(path)
    if rule.length_max is not None and len(text) > rule.length_max:
        raise refusals.long_string(path, rule.length_max, len(text))
    if rule.pattern is not None and rule.pattern.search(text) is None:
        if rule.id_prefix is not None:
            raise refusals.wrong_id(path, text, rule.id_prefix)
        raise refusals.wrong_pattern(path, rule.pattern_shown)


def _check_number(rule: Integer | Decimal, number: float, path: str) -> None:
    if rule.least is not None and number < rule.least:
        raise refusals.small_number(path, rule.kind, rule.least, number)
    if rule.most is not None and number > rule.most:
        raise refusals.large_number(path, rule.kind, rule.most, number)


def _check_array(rule: Array, items: list[object], path: str) -> None:
    if rule.nonempty and not items:
        raise refusals.empty_array(path)
    if rule.length_max is not None and len(items) > rule.length_max:
        raise refusals.long_array(path, rule.length_max, len(items))
    for index, item in enumerate(items):
        check(rule.items, item, f"{path}[{index}]")


def _check_map(rule: Map, entries: dict[str, object], path: str) -> None:
    if rule.count_max is not None and len(entries) > rule.count_max:
        raise refusals.many_properties(path, rule.count_max, len(entries))
    for key, value in entries.items():
        if rule.key_length_max is not None and len(key) > rule.key_length_max:
            raise refusals.long_property_name(path, key, rule.key_length_max)
        check(rule.values, value, f"{path}.{key}")


def _check_record(rule: Record, entries: dict[str, object], path: str) -> None:
    for name, field in rule.fields.items():
        if field.required and name not in entries:
            raise refusals.missing(_join(path, name))
    for key in entries:
        if key not in rule.fields and key != rule.tag_field:
            guess = _meant(key, [name for name in rule.fields if name not in entries])
            raise refusals.unknown(_join(path, key), meant=_join(path, guess) if guess else None)
    for name, field in rule.fields.items():
        if name in entries and not (field.nullable and entries[name] is None):
            check(field.rule, entries[name], _join(path, name))


def _record_of(rule: Tagged, entries: dict[str, object], path: str) -> Record:
    tag_path = _join(path, rule.tag_field)
    if rule.tag_field not in entries:
        raise refusals.missing(tag_path)
    tag = entries[rule.tag_field]
    if not isinstance(tag, str):
        raise refusals.wrong_type(tag_path, Choice.words, tag)
    if tag not in rule.records:
        raise refusals.wrong_value(tag_path, tag, tuple(rule.records))
    return rule.records[tag]


def _option_of(rule: OneOf, value: object) -> Rule:
    return next(option for option in rule.options if type(value) in option.json_types)


def _meant(key: str, names: list[str]) -> str | None:
    if len(key) > _GUESSED_NAME_LENGTH_MAX:
        return None
    return next(iter(difflib.get_close_matches(key, names, n=1, cutoff=_GUESS_LIKENESS_MIN)), None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# --- what is not known


def known(rule: Rule, value: object) -> object:
    """The value without the keys that its rule does not name, at every depth. Whatever is faulty is left as it is."""
    match rule, value:
        case Record() as record, dict() as entries:
            return {
                key: known(record.fields[key].rule, entry) if key in record.fields else entry
                for key, entry in entries.items()
                if key in record.fields or key == record.tag_field
            }
        case Tagged(tag_field=tag_field, records=records), dict() as entries:
            tag = entries.get(tag_field)
            return known(records[tag], value) if isinstance(tag, str) and tag in records else value
        case Array() as array, list() as items:
            return [known(array.items, item) for item in items]
        case OneOf() as one_of, _ if type(value) in one_of.json_types:
            return known(_option_of(one_of, value), value)
        case _:
            return value
