"""From a request's bytes to a struct of `understudy.wire`.

msgspec alone decodes the bodies that are as they should be. Only those that it refuses are read again, slowly.
"""

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from understudy.api.decode.annotations import record_of
from understudy.api.decode.rules import check, known
from understudy.core import refusals
from understudy.core.errors import BadRequest
from understudy.core.limits import BODY_BRACKETS_MAX, BODY_DEPTH_MAX

T = TypeVar("T", bound=msgspec.Struct)

JsonObject: TypeAlias = dict[str, object]
Rewrite: TypeAlias = Callable[[JsonObject], JsonObject]
"""Old spellings into today's. Pure: the object that it is given stays as it is."""

_BRACKET_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKET_STEPS)
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def decode_body(raw: bytes, type_: type[T], *, lenient: bool = False, rewrite: Rewrite | None = None) -> T:
    """The body as its struct.

    `lenient` drops unknown keys, at every depth, instead of refusing them. `rewrite` is asked only about bodies that
    are refused as they stand. Of a key that is given twice the last one counts. Raises `InvalidField` for the first
    fault of an object, `BadRequest` for what is no JSON object at all.
    """
    _check_depth(raw)
    try:
        decoded: T = _decoder(type_).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_slowly(raw, type_, lenient, rewrite)
    return decoded


@functools.cache
def _decoder(type_: type[msgspec.Struct]) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(type_)


def _decode_slowly(raw: bytes, type_: type[T], lenient: bool, rewrite: Rewrite | None) -> T:
    body = _parse(raw)
    if rewrite is not None:
        body = rewrite(body)
    return convert(body, type_, lenient=lenient)


def convert(body: JsonObject, type_: type[T], *, lenient: bool) -> T:
    """A JSON object as its struct. Raises as `decode_body` does."""
    rule = record_of(type_)
    tree = known(rule, body) if lenient else body
    try:
        return msgspec.convert(tree, type_)
    except msgspec.ValidationError as error:
        check(rule, tree, "")
        # Not reached as long as the rules know every fault that msgspec knows, which a property test holds.
        raise BadRequest(f"Invalid body: {error}.") from error


def _parse(raw: bytes) -> JsonObject:
    if not raw.strip():
        raise refusals.unreadable_body("it was empty")
    try:
        body = msgspec.json.decode(raw)
    except msgspec.ValidationError as error:
        raise refusals.unreadable_body("a number in it is out of range") from error
    except msgspec.DecodeError as error:
        raise refusals.unreadable_body(f"what was sent was not valid JSON{_where(error)}") from error
    except UnicodeDecodeError as error:
        raise refusals.unreadable_body("what was sent was not valid UTF-8") from error
    if not isinstance(body, dict):
        raise refusals.unreadable_body(f"what was sent was {refusals.noun(body)}")
    return body


def _where(error: msgspec.DecodeError) -> str:
    # msgspec calls some lone surrogates "truncated", which would mislead; what it calls malformed is so.
    _, malformed, detail = str(error).partition("JSON is malformed: ")
    return f": {detail}" if malformed else ""


def _check_depth(raw: bytes) -> None:
    """Raises `BadRequest` for what is nested so deeply that decoding, or encoding it again, would overflow a stack."""
    opened = raw.count(b"[") + raw.count(b"{")
    if opened <= BODY_DEPTH_MAX:
        return
    if opened > BODY_BRACKETS_MAX:
        raise refusals.unreadable_body(f"it holds more than {BODY_BRACKETS_MAX} arrays and objects")
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)
    depth = max(itertools.accumulate(map(_BRACKET_STEPS.__getitem__, brackets)), default=0)
    if depth > BODY_DEPTH_MAX:
        raise refusals.unreadable_body(
            f"what was sent is nested {depth} levels deep, and {BODY_DEPTH_MAX} is the limit"
        )
