"""The validator's vocabulary: one function a fault, the message letter for letter, with its `param` and `code`.

Texts only: what is a fault is decided in `api/decode/`. Source: contract section 7.2. A `path` is written as in
`tools[0].function.name`.
"""

from collections.abc import Sequence
from typing import Final, Literal

from understudy.core.errors import BadRequest, InvalidField, wrong_prefix
from understudy.core.limits import ECHO_LENGTH_MAX

_NOUNS: Final[dict[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def missing(path: str) -> InvalidField:
    return InvalidField(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def unknown(path: str, *, meant: str | None = None) -> InvalidField:
    hint = f" Did you mean '{meant}'?" if meant else ""
    path = echo(path)
    return InvalidField(f"Unknown parameter: '{path}'.{hint}", param=path, code="unknown_parameter")


def wrong_type(path: str, expected: str, got: object) -> InvalidField:
    """`expected` comes with its article, as in "an array of objects"; `got` is the JSON value itself."""
    return InvalidField(
        f"Invalid type for '{path}': expected {expected}, but got {noun(got)} instead.",
        param=path,
        code="invalid_type",
    )


def wrong_value(path: str, value: str, supported: Sequence[str]) -> InvalidField:
    """[attested] for `tools[0].type`. `supported` is in the order in which the values are named."""
    names = listed([f"'{name}'" for name in supported], "and")
    return InvalidField(
        f"Invalid value: '{echo(value)}'. Supported values are: {names}.", param=path, code="invalid_value"
    )


def wrong_id(path: str, value: str, prefix: str) -> InvalidField:
    return wrong_prefix(path, echo(value), prefix)


def wrong_pattern(path: str, pattern: str) -> InvalidField:
    """[attested]"""
    return InvalidField(
        f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '{pattern}'.",
        param=path,
        code="invalid_value",
    )


def empty_string(path: str) -> InvalidField:
    return InvalidField(
        f"Invalid '{path}': empty string. Expected a string with minimum length 1, but got an empty string instead.",
        param=path,
        code="empty_string",
    )


def long_string(path: str, length_max: int, length: int) -> InvalidField:
    """[attested] Lengths are in characters."""
    return InvalidField(
        f"Invalid '{path}': string too long. Expected a string with maximum length {length_max}, "
        f"but got a string with length {length} instead.",
        param=path,
        code="string_above_max_length",
    )


def empty_array(path: str) -> InvalidField:
    return InvalidField(
        f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=path,
        code="empty_array",
    )


def long_array(path: str, length_max: int, length: int) -> InvalidField:
    """[attested]"""
    return InvalidField(
        f"Invalid '{path}': array too long. Expected an array with maximum length {length_max}, "
        f"but got an array with length {length} instead.",
        param=path,
        code="array_above_max_length",
    )


def many_properties(path: str, count_max: int, count: int) -> InvalidField:
    return InvalidField(
        f"Invalid '{path}': too many properties. Expected an object with at most {count_max} properties, "
        f"but got an object with {count} properties instead.",
        param=path,
        code="object_above_max_properties",
    )


def long_property_name(path: str, name: str, length_max: int) -> InvalidField:
    """The message shows the name's ends only, as the service does; `param` shows it whole."""
    return InvalidField(
        f"Invalid property name in '{path}': '{name[:3]}...{name[-3:]}' is too long. "
        f"Expected a string with maximum length {length_max}, but got a string with length {len(name)} instead.",
        param=echo(f"{path}.{name}"),
        code="property_name_above_max_length",
    )


def small_number(path: str, kind: Literal["integer", "decimal"], least: float, got: float) -> InvalidField:
    return InvalidField(
        f"Invalid '{path}': {kind} below minimum value. Expected a value >= {least}, but got {echo(str(got))} instead.",
        param=path,
        code=f"{kind}_below_min_value",
    )


def large_number(path: str, kind: Literal["integer", "decimal"], most: float, got: float) -> InvalidField:
    return InvalidField(
        f"Invalid '{path}': {kind} above maximum value. Expected a value <= {most}, but got {echo(str(got))} instead.",
        param=path,
        code=f"{kind}_above_max_value",
    )


def mutually_exclusive(path: str, other: str) -> InvalidField:
    return InvalidField(
        f"Mutually exclusive parameters: '{path}' and '{other}'. Ensure you are only providing one of them.",
        param=path,
        code="mutually_exclusive_parameters",
    )


# --- the body as a whole


def unreadable_body(reason: str) -> BadRequest:
    """The service's first words, and then ours: `reason` is a clause, as in "it is empty"."""
    return BadRequest(
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
        f"library correctly. The API expects a JSON object as the payload, but {reason}.)"
    )


# --- pieces


def noun(value: object) -> str:
    """What a JSON value is, in the words of a refusal: "an integer"."""
    return _NOUNS[type(value)]


def listed(words: Sequence[str], last: Literal["and", "or"]) -> str:
    """`'a' and 'b'`; `'a', 'b', and 'c'`."""
    if len(words) < 3:
        return f" {last} ".join(words)
    return f"{', '.join(words[:-1])}, {last} {words[-1]}"


def echo(text: str) -> str:
    """A piece of the request as a refusal repeats it: whole, unless it is unreasonably long."""
    return text if len(text) <= ECHO_LENGTH_MAX else f"{text[:ECHO_LENGTH_MAX]}..."
