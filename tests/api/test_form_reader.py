"""The reader of forms, told of them in pieces of every size."""

import contextlib
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from support.files import BOUNDARY, FORM, file_field, form, text_field
from understudy.api.form import Form, read_form
from understudy.core import errors

LARGEST = 100_000
PURPOSE = text_field("purpose", "assistants")
FILE = file_field("file", b"Hello", "a.txt", "text/plain")


def asked(pieces: Sequence[bytes]) -> Request:
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    headers = [(b"content-type", FORM["Content-Type"].encode())]

    async def receive() -> Any:
        return waiting.pop(0)

    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


async def read(pieces: Sequence[bytes]) -> tuple[Form, bytes]:
    written: list[bytes] = []

    async def write(piece: bytes) -> None:
        written.append(piece)

    got = await read_form(
        asked(pieces),
        write,
        file_field="file",
        file_bytes_max=LARGEST,
        too_large=errors.file_too_large(LARGEST),
        named=True,
    )
    return got, b"".join(written)


NEARLY = b"\r\n--" + BOUNDARY.encode()
content = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from([NEARLY[:n] for n in range(len(NEARLY))] + [b"\r\n", b"--"]))
).map(b"".join)


@given(content=content, data=st.data())
async def test_a_form_is_read_alike_however_it_is_cut(content: bytes, data: st.DataObject) -> None:
    body = form(file_field("file", content, "é.txt", "Text/Plain; charset=x"), text_field("a[b]", "12"), PURPOSE)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    got, written = await read(pieces)
    assert written == content
    assert (got.file.filename, got.file.mime_type, got.file.bytes) == ("é.txt", "text/plain", len(content))
    assert got.texts == {"a": {"b": 12}, "purpose": "assistants"}


@given(pieces=st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([PURPOSE, FILE, NEARLY, b"--\r\n", b"\r\n"]))))
async def test_no_bytes_crash_the_reader(pieces: list[bytes]) -> None:
    with contextlib.suppress(errors.BadRequest, errors.TooLarge):
        await read(pieces)
