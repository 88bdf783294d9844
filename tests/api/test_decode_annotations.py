from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from understudy.api.decode.annotations import record_of
from understudy.api.decode.rules import Array, Choice, Decimal, OneOf, Text
from understudy.api.decode.rules import Tagged as TaggedRule
from understudy.wire.runs import CreateRun
from understudy.wire.vector_stores import SearchVectorStore


class Tagged(Struct, tag_field="type", tag="a"):
    pass


def test_fields_keep_the_order_and_the_words_of_their_struct() -> None:
    record = record_of(CreateRun)
    assert next(iter(record.fields)) == "assistant_id"
    assert record.fields["temperature"].rule == Decimal(least=0, most=2)
    choice = record.fields["tool_choice"].rule
    assert isinstance(choice, OneOf)
    assert choice.options[0] == Choice(values=("none", "auto", "required"))


def test_optional_is_one_thing_and_nullable_another() -> None:
    class Both(Struct):
        required: str | None
        optional: str = ""

    fields = record_of(Both).fields
    assert (fields["required"].required, fields["required"].nullable) == (True, True)
    assert (fields["optional"].required, fields["optional"].nullable) == (False, False)


def test_limits_of_nested_annotations_add_up() -> None:
    class Limited(Struct):
        name: Annotated[Annotated[str, Meta(max_length=5)], Meta(min_length=1)]

    assert record_of(Limited).fields["name"].rule == Text(nonempty=True, length_max=5)


@pytest.mark.parametrize("annotation", [bytes, Tagged, Annotated[str, Meta(min_length=2)], dict[int, str], list[bytes]])
def test_an_annotation_whose_refusals_have_no_words_is_an_error_of_the_program(annotation: object) -> None:
    class Odd(Struct):
        __annotations__ = {"field": annotation}

    with pytest.raises(TypeError):
        record_of(Odd)


def test_a_choice_names_its_values_in_the_order_in_which_they_were_written() -> None:
    class Ordered(Struct):
        role: Literal["user", "assistant"]

    assert record_of(Ordered).fields["role"].rule == Choice(values=("user", "assistant"))


def test_a_struct_may_hold_its_own_kind() -> None:
    filters = record_of(SearchVectorStore).fields["filters"].rule
    assert isinstance(filters, TaggedRule)
    inner = filters.records["and"].fields["filters"].rule
    assert isinstance(inner, Array)
    assert isinstance(inner.items, TaggedRule)
    assert inner.items.records["and"].fields is filters.records["and"].fields
