"""msgspec decides and the rules explain: on every body they must agree."""

import contextlib
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.bodies import JSON_VALUES, mutated_bodies, valid_bodies
from understudy.api.decode import decode_body, v1_rewrite
from understudy.api.decode.annotations import record_of
from understudy.api.decode.rules import check, known
from understudy.core.errors import BadRequest, InvalidField
from understudy.wire.assistants import CreateAssistant, UpdateAssistant
from understudy.wire.base import Body
from understudy.wire.messages import CreateMessage, UpdateMessage
from understudy.wire.runs import CreateRun, CreateThreadAndRun, SubmitToolOutputs, UpdateRun
from understudy.wire.threads import CreateThread, UpdateThread
from understudy.wire.vector_stores import (
    CreateFileBatch,
    CreateStoreFile,
    CreateVectorStore,
    SearchVectorStore,
    UpdateStoreFile,
    UpdateVectorStore,
)

BODIES: list[type[Body]] = [
    CreateAssistant,
    UpdateAssistant,
    CreateThread,
    UpdateThread,
    CreateMessage,
    UpdateMessage,
    CreateRun,
    CreateThreadAndRun,
    UpdateRun,
    SubmitToolOutputs,
    CreateVectorStore,
    UpdateVectorStore,
    CreateStoreFile,
    UpdateStoreFile,
    CreateFileBatch,
    SearchVectorStore,
]
VOCABULARY = {
    "missing_required_parameter",
    "unknown_parameter",
    "invalid_type",
    "invalid_value",
    "string_above_max_length",
    "property_name_above_max_length",
    "object_above_max_properties",
    "array_above_max_length",
    "empty_array",
    "empty_string",
    "integer_below_min_value",
    "integer_above_max_value",
    "decimal_below_min_value",
    "decimal_above_max_value",
}
QUICK = settings()  # as the profile says: more in CI


def fault(type_: type[Body], body: object) -> InvalidField | None:
    try:
        check(record_of(type_), body, "")
    except InvalidField as refusal:
        return refusal
    return None


def accepted(type_: type[Body], raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw, type=type_)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("type_", BODIES)
@QUICK
@given(st.data())
def test_the_rules_find_no_fault_in_a_valid_body(type_: type[Body], data: st.DataObject) -> None:
    body = data.draw(valid_bodies(type_))
    assert fault(type_, body) is None
    assert decode_body(msgspec.json.encode(body), type_) == msgspec.convert(body, type_)


@pytest.mark.parametrize("type_", BODIES)
@QUICK
@given(st.data())
def test_the_rules_find_a_fault_exactly_where_msgspec_refuses(type_: type[Body], data: st.DataObject) -> None:
    body = data.draw(mutated_bodies(type_))
    raw = msgspec.json.encode(body)
    found = fault(type_, body)
    assert accepted(type_, raw) == (found is None)
    if found is None:
        assert isinstance(decode_body(raw, type_), type_)
        return
    with pytest.raises(InvalidField) as caught:
        decode_body(raw, type_)
    assert caught.value.message == found.message
    assert caught.value.code in VOCABULARY
    assert caught.value.param is not None
    names_no_field = caught.value.code in {"invalid_value", "property_name_above_max_length"}
    assert names_no_field or f"'{caught.value.param}'" in caught.value.message


@pytest.mark.parametrize("type_", BODIES)
@QUICK
@given(st.data())
def test_lenient_never_complains_of_an_unknown_key_and_refuses_all_else(type_: type[Body], data: st.DataObject) -> None:
    body = data.draw(mutated_bodies(type_))
    raw = msgspec.json.encode(body)
    found = fault(type_, known(record_of(type_), body))
    if found is None:
        assert isinstance(decode_body(raw, type_, lenient=True), type_)
        return
    assert found.code in VOCABULARY - {"unknown_parameter"}
    with pytest.raises(InvalidField, match=re.escape(found.message)):
        decode_body(raw, type_, lenient=True)


@pytest.mark.parametrize("type_", BODIES)
@QUICK
@given(st.data())
def test_a_rewrite_never_turns_a_body_into_an_unexplained_one(type_: type[Body], data: st.DataObject) -> None:
    raw = msgspec.json.encode(data.draw(mutated_bodies(type_)))
    with contextlib.suppress(InvalidField):
        decode_body(raw, type_, rewrite=v1_rewrite(type_))


@QUICK
@given(JSON_VALUES | st.binary(max_size=40))
def test_no_bytes_whatever_do_worse_than_a_bad_request(body: Any) -> None:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(BadRequest):
        decode_body(raw, CreateRun)
