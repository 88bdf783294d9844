"""Multipart forms with one file in them, which goes where it shall stay while it arrives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from understudy.core import errors, refusals
from understudy.core.files import plain_mime_type
from understudy.core.limits import (
    BODY_SILENCE_SECONDS,
    FORM_FIELDS_MAX,
    FORM_OVERHEAD_BYTES_MAX,
    FORM_TEXT_BYTES_MAX,
)
from understudy.wire.files import FILE_NAME_LENGTH_MAX

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
Tree: TypeAlias = dict[str, object]

_Part: TypeAlias = Literal["none", "file", "text"]
_UNNAMED: Final = "upload"  # what HTTP libraries call content that they were given without a name


class FormFile(Struct, frozen=True, kw_only=True):
    """What came with the file's content. `mime_type` is "" where the client did not say."""

    filename: str
    mime_type: str
    bytes: int


class Form(Struct, frozen=True, kw_only=True):
    """`texts` are all other fields, those in brackets as objects: `expires_after[seconds]`."""

    file: FormFile
    texts: Tree


async def read_form(
    request: Request,
    write: Write,
    *,
    file_field: str,
    file_bytes_max: int,
    too_large: errors.TooLarge,
    named: bool,
) -> Form:
    """The form, when all of it has come; its file's content is given to `write` meanwhile, in pieces.

    `named`: a file without a name is text that was meant to be one. Raises `errors.ApiError`, and what `write` raises.
    """
    reader = _FormReader(_boundary(request), write, file_field, file_bytes_max, too_large, named=named)
    bytes_max = file_bytes_max + FORM_OVERHEAD_BYTES_MAX
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > bytes_max:
        raise too_large
    received = 0
    async with aclosing(_pieces(request)) as pieces:
        async for piece in pieces:
            received += len(piece)
            if received > bytes_max:
                raise too_large
            await reader.read(piece)
    return reader.form()


def _boundary(request: Request) -> bytes:
    type_, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if type_ != b"multipart/form-data" or not boundary:
        raise errors.no_form()
    return boundary


async def _pieces(request: Request) -> AsyncGenerator[bytes, None]:
    async with aclosing(request.stream()) as stream:
        while True:
            try:
                async with asyncio.timeout(BODY_SILENCE_SECONDS):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise errors.body_too_slow() from None
            except ClientDisconnect:
                raise errors.unreadable_form("it ended early") from None
            yield piece


class _FormReader:
    """Told of a form's bytes as they come."""

    def __init__(
        self,
        boundary: bytes,
        write: Write,
        file_field: str,
        file_bytes_max: int,
        too_large: errors.TooLarge,
        *,
        named: bool,
    ) -> None:
        self._write = write
        self._file_field = file_field
        self._file_bytes_max = file_bytes_max
        self._too_large = too_large
        self._named = named
        self._parts = 0
        self._texts: dict[str, bytes] = {}
        self._text_bytes = 0
        self._file: FormFile | None = None
        self._ended = False
        self._part: _Part = "none"
        self._name = ""
        self._headers: dict[bytes, bytes] = {}
        self._header: tuple[bytes, bytes] = (b"", b"")
        # The parser cannot wait for the disk, so what it finds waits until it has read a piece to its end.
        self._found: list[bytes] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._take_header_name,
                    "on_header_value": self._take_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._take_content,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise errors.no_form() from None

    async def read(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError:
            raise errors.unreadable_form("what was sent was no valid form") from None
        found, self._found = self._found, []
        for content in found:
            await self._write(content)

    def form(self) -> Form:
        """Raises `errors.ApiError` for what is missing."""
        if not self._ended:
            raise errors.unreadable_form("it ended early")
        if self._file is None:
            raise refusals.missing(self._file_field)
        return Form(file=self._file, texts=_tree(self._texts))

    # --- what the parser calls

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > FORM_FIELDS_MAX:
            raise errors.unreadable_form(f"it has more than {FORM_FIELDS_MAX} fields")
        self._part = "none"
        self._headers = {}
        self._header = (b"", b"")

    def _take_header_name(self, piece: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = (name + piece[start:end], value)

    def _take_header_value(self, piece: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = (name, value + piece[start:end])

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = (b"", b"")

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise errors.unreadable_form("a part of it has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        if self._name == self._file_field:
            self._begin_file(options.get(b"filename"))
        else:
            self._part = "text"
            self._texts[self._name] = b""

    def _begin_file(self, raw_name: bytes | None) -> None:
        if self._file is not None:
            raise errors.given_twice(self._file_field)
        if raw_name is None and self._named:
            raise refusals.wrong_type(self._file_field, "a file", "")
        filename = (raw_name or b"").decode("utf-8", "replace") or _UNNAMED
        if len(filename) > FILE_NAME_LENGTH_MAX:
            raise refusals.long_string(f"{self._file_field}.filename", FILE_NAME_LENGTH_MAX, len(filename))
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self._file = FormFile(filename=filename, mime_type=plain_mime_type(content_type), bytes=0)
        self._part = "file"

    def _take_content(self, piece: bytes, start: int, end: int) -> None:
        match self._part:
            case "file":
                assert self._file is not None
                size = self._file.bytes + end - start
                if size > self._file_bytes_max:
                    raise self._too_large
                self._file = FormFile(filename=self._file.filename, mime_type=self._file.mime_type, bytes=size)
                self._found.append(piece[start:end])
            case "text":
                self._text_bytes += end - start
                if self._text_bytes > FORM_TEXT_BYTES_MAX:
                    raise errors.unreadable_form(f"its fields have more than {FORM_TEXT_BYTES_MAX} bytes")
                self._texts[self._name] += piece[start:end]

    def _end_part(self) -> None:
        self._part = "none"

    def _end(self) -> None:
        self._ended = True


def _tree(texts: Mapping[str, bytes]) -> Tree:
    """Fields as the JSON body that they stand for: `a[b]` is a key in an object, digits are a number there."""
    tree: Tree = {}
    for name, raw in texts.items():
        text = raw.decode("utf-8", "replace")
        outer, bracket, inner = name.partition("[")
        if not bracket or not inner.endswith("]"):
            tree[name] = text
            continue
        entries = tree.setdefault(outer, {})
        if isinstance(entries, dict):
            entries[inner.removesuffix("]")] = int(text) if text.isascii() and text.isdigit() else text
    return tree
