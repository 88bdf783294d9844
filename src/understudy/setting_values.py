"""What the value of a setting may be, and the one sentence that says so when it is something else."""

import contextlib
import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, TypeAlias, get_args

import msgspec
from msgspec import Meta

__all__ = [
    "Bytes",
    "CacheBytes",
    "Count",
    "FileBytes",
    "HeaderName",
    "HeaderValue",
    "Headers",
    "HttpUrl",
    "HttpUrls",
    "Lifetime",
    "NotEmpty",
    "Places",
    "Port",
    "PostgresUrl",
    "RedisUrl",
    "S3Url",
    "Seconds",
    "SettingError",
    "Tokens",
    "decode",
    "nearest",
    "value_type",
    "without_none",
    "without_secrets",
    "without_user",
    "words_for",
]

DAY_SECONDS: Final = 24 * 60 * 60


class SettingError(Exception):
    """A setting cannot be used. Its text is one sentence for the operator, without secrets."""


# A value's limits, and in `words` what an error says was expected.

HttpUrl: TypeAlias = Annotated[
    str, Meta(pattern=r"\Ahttps?://[^\s/?#]+[^\s?#]*\Z", extra={"words": "a URL that begins with http:// or https://"})
]
HttpUrls: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"\Ahttps?://[^\s/?#]+[^\s?#]*( https?://[^\s/?#]+[^\s?#]*)*\Z",
        extra={"words": "URLs that begin with http:// or https://, a space between two"},
    ),
]
PostgresUrl: TypeAlias = Annotated[
    str, Meta(pattern=r"\Apostgres(ql)?://\S+\Z", extra={"words": "a URL that begins with postgresql://"})
]
RedisUrl: TypeAlias = Annotated[
    str, Meta(pattern=r"\A(rediss?|unix)://\S+\Z", extra={"words": "a URL that begins with redis:// or rediss://"})
]
S3Url: TypeAlias = Annotated[
    str, Meta(pattern=r"\As3://[^\s/?#]+(/[^\s?#]*)?\Z", extra={"words": "a URL as s3://bucket/prefix"})
]
HeaderValue: TypeAlias = Annotated[
    str, Meta(pattern=r"\A[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\Z", extra={"words": "printable ASCII"})
]
HeaderName: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")]
Headers: TypeAlias = Annotated[
    dict[HeaderName, HeaderValue],
    Meta(extra={"words": 'header names and their values, in the environment as {"name": "value"}'}),
]
Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535, extra={"words": "a port number from 0 to 65535"})]
Tokens: TypeAlias = Annotated[int, Meta(ge=256, le=2**31, extra={"words": "a whole number of at least 256"})]
Seconds: TypeAlias = Annotated[
    float, Meta(gt=0, le=DAY_SECONDS, extra={"words": "seconds, more than 0 and at most a day"})
]
Lifetime: TypeAlias = Annotated[
    int, Meta(ge=1, le=30 * DAY_SECONDS, extra={"words": "whole seconds from 1 to 2592000 (30 days)"})
]
Bytes: TypeAlias = Annotated[
    int, Meta(ge=1024, le=2**30, extra={"words": "a whole number of bytes from 1024 to 1073741824"})
]
CacheBytes: TypeAlias = Annotated[
    int, Meta(ge=0, le=2**50, extra={"words": "a whole number of bytes from 0 to 1125899906842624"})
]
FileBytes: TypeAlias = Annotated[
    int, Meta(ge=1024, le=2**40, extra={"words": "a whole number of bytes from 1024 to 1099511627776"})
]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=100_000, extra={"words": "a whole number from 1 to 100000"})]
Places: TypeAlias = Annotated[int, Meta(ge=0, le=100, extra={"words": "a whole number from 0 to 100"})]
NotEmpty: TypeAlias = Annotated[str, Meta(min_length=1, extra={"words": "a text that is not empty"})]


def decode(value: object, type_: object, *, what: str, source: str, strict: bool, secret: bool = False) -> object:
    """The value as its type. `what` names the setting, as in `'port'`. Raises `SettingError`.

    A value that is not `strict` is text, as the environment has it; text for headers is JSON.
    """
    kind = without_none(type_)
    refusal = SettingError(
        f"The setting {what}, from {source}, must be {words_for(type_)}, not "
        + ("something else." if secret else f"'{value}'.")
    )
    try:
        if not strict and isinstance(value, str) and kind is Headers:
            value = msgspec.json.decode(value)
        return msgspec.convert(value, kind, strict=strict, dec_hook=_path)
    except msgspec.MsgspecError as error:
        raise refusal from error


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant. There must be one."""
    return difflib.get_close_matches(name, list(names), n=1, cutoff=0)[0]


def without_user(url: str) -> str:
    """The URL with `***` in the place of a user and password, to be shown."""
    return re.sub(r"//[^/]*@", "//***@", url)


def without_secrets(url: str) -> str:
    """A database's or a bus's URL with `***` in the place of a user and password, wherever it has them."""
    head, mark, query = url.partition("?")
    # Up to the last @: a password that holds one may not have been escaped.
    return re.sub(r"//.*@", "//***@", head) + re.sub(r"([^=&?]*pass[^=&]*)=[^&]*", r"\1=***", mark + query)


def value_type(type_: object) -> object:
    """The type of a field without its description: what is left are the value's own limits."""
    notes = [note for note in getattr(type_, "__metadata__", ()) if not (isinstance(note, Meta) and note.description)]
    inner: object = getattr(type_, "__origin__", type_) if hasattr(type_, "__metadata__") else type_
    return Annotated[inner, *notes] if notes else inner


def without_none(type_: object) -> object:
    """What a value may be once somebody gave one."""
    kinds = [kind for kind in get_args(type_) if kind is not type(None)]
    return kinds[0] if type(None) in get_args(type_) else type_


def words_for(type_: object) -> str:
    """What a value of this type must be."""
    type_ = without_none(type_)
    for note in getattr(type_, "__metadata__", ()):
        if isinstance(note, Meta) and note.extra and "words" in note.extra:
            return str(note.extra["words"])
    if type_ is bool:
        return "true or false"
    if type_ is Path:
        return "a path"
    if type_ is str:
        return "a text"
    return " or ".join(f'"{choice}"' for choice in get_args(type_))


def _path(type_: type, value: object) -> object:
    if type_ is Path and isinstance(value, str) and value and "\0" not in value:
        with contextlib.suppress(RuntimeError):  # nobody's home
            return Path(value).expanduser()
    raise ValueError("no path")
