"""Files as clients send them: multipart forms, written out byte for byte."""

from collections.abc import Mapping
from typing import Any

from support.client import Answer, Client

__all__ = ["BOUNDARY", "FORM", "file_field", "form", "new_file", "send_file", "send_form", "text_field"]

BOUNDARY = "understudy-tests-7f3a"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def text_field(name: str, value: str) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value.encode())


def file_field(name: str, content: bytes, filename: str | None, content_type: str | None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    typed = "" if content_type is None else f"\r\nContent-Type: {content_type}"
    return part(f'Content-Disposition: form-data; name="{name}"{named}{typed}', content)


def part(head: str, content: bytes) -> bytes:
    return b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), head.encode(), content)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY.encode()


async def send_form(client: Client, path: str, *parts: bytes, headers: Mapping[str, str] = FORM) -> Answer:
    return await client.request("POST", path, raw=form(*parts), headers=headers)


async def send_file(
    client: Client,
    content: bytes,
    *,
    filename: str | None = "a.txt",
    content_type: str | None = "text/plain",
    **fields: str,
) -> Answer:
    """Whatever the server answers. `fields` are the form's others, `purpose` too unless it is given as ""."""
    given = {name: value for name, value in {"purpose": "assistants", **fields}.items() if value}
    texts = [text_field(name.replace("__", "[") + ("]" if "__" in name else ""), given[name]) for name in given]
    return await send_form(client, "/v1/files", *texts, file_field("file", content, filename, content_type))


async def new_file(client: Client, content: bytes = b"Hello", **given: Any) -> dict[str, Any]:
    """The file as the server answers it."""
    answer = await send_file(client, content, **given)
    assert answer.status == 200, answer.body
    file: dict[str, Any] = answer.body
    return file
