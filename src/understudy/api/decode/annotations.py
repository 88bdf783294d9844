"""From a struct's annotations to its rules."""

import functools
import re
import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from understudy.api.decode.rules import (
    Anything,
    Array,
    Boolean,
    Choice,
    Decimal,
    Field,
    Integer,
    Map,
    OneOf,
    Record,
    Rule,
    Tagged,
    Text,
)


@functools.cache
def record_of(type_: type[msgspec.Struct]) -> Record:
    """The rules of a body or a query, its fields in the order in which the struct declares them.

    Raises `TypeError` for an annotation whose refusals have no words: a fault of the struct, not of a request.
    """
    return _Reading().record(type_)


class _Reading:
    """Of one struct and all those within it, each once: a filter holds filters."""

    def __init__(self) -> None:
        self._fields: dict[type[msgspec.Struct], dict[str, Field]] = {}

    def record(self, type_: type[msgspec.Struct]) -> Record:
        fields = self._fields.get(type_)
        if fields is None:
            fields = self._fields[type_] = {}
            fields.update({field.encode_name: self._field(field) for field in msgspec.structs.fields(type_)})
        return Record(fields=fields)

    def _field(self, field: msgspec.structs.FieldInfo) -> Field:
        options = _options(field.type)
        return Field(
            rule=self._rule_of_options([option for option in options if option not in (type(None), msgspec.UnsetType)]),
            required=field.required,
            nullable=type(None) in options,
        )

    def _rule_of_options(self, options: Sequence[object]) -> Rule:
        structs = [option for option in options if _is_struct(option)]
        rules: list[Rule] = [self._rule(option) for option in options if not _is_struct(option)]
        if structs:
            rules.append(self._rule_of_structs(structs))
        return rules[0] if len(rules) == 1 else OneOf(options=tuple(rules))

    def _rule_of_structs(self, structs: Sequence[object]) -> Rule:
        types_ = [struct for struct in structs if isinstance(struct, type) and issubclass(struct, msgspec.Struct)]
        tag_field = types_[0].__struct_config__.tag_field
        if len(types_) == 1:
            # msgspec lets the tag of a struct that stands alone be left out; no request has such a field.
            if tag_field is not None:
                raise TypeError(f"{types_[0]} is tagged and stands alone")
            return self.record(types_[0])
        if tag_field is None:
            raise TypeError(f"{types_} have no tag")
        records = {
            str(type_.__struct_config__.tag): msgspec.structs.replace(self.record(type_), tag_field=tag_field)
            for type_ in types_
        }
        return Tagged(tag_field=tag_field, records=records)

    def _rule(self, annotation: object, *metas: msgspec.Meta) -> Rule:
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._rule(args[0], *(meta for meta in args[1:] if isinstance(meta, msgspec.Meta)), *metas)
        if annotation is str:
            return _text(metas)
        if annotation is int:
            return Integer(least=_limit(metas, "ge"), most=_limit(metas, "le"))
        if annotation is float:
            return Decimal(least=_limit(metas, "ge"), most=_limit(metas, "le"))
        if annotation is bool:
            return Boolean()
        if annotation is Any:
            return Anything()
        if origin is Literal:
            return Choice(values=args)
        if origin is list:
            return Array(
                items=self._rule_of_options(_options(args[0])),
                nonempty=_nonempty(metas),
                length_max=_length_max(metas),
            )
        if origin is dict:
            return self._map(args[0], args[1], metas)
        raise TypeError(f"no rule for {annotation}")

    def _map(self, key: object, values: object, metas: Sequence[msgspec.Meta]) -> Map:
        key_rule = self._rule(key)
        if not isinstance(key_rule, Text):
            raise TypeError(f"{key} is no key of a JSON object")
        return Map(
            words=_extra(metas, "words") or "an object",
            values=self._rule_of_options(_options(values)),
            count_max=_length_max(metas),
            key_length_max=key_rule.length_max,
        )


def _options(annotation: object) -> Sequence[object]:
    """The members of a union, those of nested unions among them; anything else is its own only member."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for member in get_args(annotation) for option in _options(member)]
    return [annotation]


def _is_struct(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _text(metas: Sequence[msgspec.Meta]) -> Text:
    pattern = next((meta.pattern for meta in metas if meta.pattern is not None), None)
    return Text(
        nonempty=_nonempty(metas),
        length_max=_length_max(metas),
        pattern=None if pattern is None else re.compile(pattern),
        pattern_shown="" if pattern is None else published_pattern(pattern),
        id_prefix=_extra(metas, "id_prefix"),
    )


def published_pattern(pattern: str) -> str:
    """A pattern as the API's documents write it: their `$` is Python's `\\Z`."""
    return pattern.replace("\\Z", "$")


def _limit(metas: Sequence[msgspec.Meta], which: Literal["ge", "le"]) -> float | None:
    return next((limit for meta in metas if (limit := getattr(meta, which)) is not None), None)


def _length_max(metas: Sequence[msgspec.Meta]) -> int | None:
    return next((meta.max_length for meta in metas if meta.max_length is not None), None)


def _nonempty(metas: Sequence[msgspec.Meta]) -> bool:
    lengths = {meta.min_length for meta in metas} - {None}
    # The vocabulary knows "empty" but no other shortness.
    if not lengths <= {1}:
        raise TypeError(f"a minimum length of {lengths} cannot be explained")
    return bool(lengths)


def _extra(metas: Sequence[msgspec.Meta], key: str) -> str | None:
    return next((str(meta.extra[key]) for meta in metas if meta.extra and key in meta.extra), None)
