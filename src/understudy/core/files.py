"""What a file is called and said to be: names for people, types for browsers. No name is ever a path here."""

import re
from typing import Final
from urllib.parse import quote

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]|[\ud800-\udfff]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SEPARATORS: Final = re.compile(r"[/\\]")
_MIME_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z")
_NOT_QUOTABLE: Final = re.compile(r"[^ !#-\[\]-~]")

# Served as what they are; a browser would run nothing of them. All else is bytes: not JSON either, which the Node SDK's
# older `retrieveContent` would read and give back as an object.
_SERVED: Final[dict[str, str]] = {
    "csv": "text/csv",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "md": "text/markdown",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "tar": "application/x-tar",
    "txt": "text/plain",
    "webp": "image/webp",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "zip": "application/zip",
}
_BYTES: Final = "application/octet-stream"
_UNNAMED: Final = "file"

# What images begin with, of the types that the API takes; WebP's beginning has a length in the middle.
_IMAGES: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def base_name(filename: str) -> str:
    """The last piece of a name, fit to be a file's name in a directory: not empty, no dots alone, no control."""
    name = _UNSAFE.sub("_", _SEPARATORS.split(filename.rstrip("/\\"))[-1]).strip()
    return name if name.strip(".") else _UNNAMED


def extension(filename: str) -> str:
    """In small letters, without its dot; "" without one."""
    _, dot, last = base_name(filename).rpartition(".")
    return last.lower() if dot else ""


def plain_mime_type(content_type: str) -> str:
    """A type without its parameters, in small letters; "" for what is none."""
    type_ = content_type.partition(";")[0].strip().lower()
    return type_ if _MIME_TYPE.match(type_) else ""


def served_type(filename: str, mime_type: str) -> str:
    """The `content-type` that a file's content may go out with."""
    if mime_type in _SERVED.values():
        return mime_type
    return _SERVED.get(extension(filename), _BYTES)


def attachment(filename: str) -> str:
    """The `content-disposition` of a download, for any name (RFC 6266)."""
    name = base_name(filename)
    plain = _NOT_QUOTABLE.sub("_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def image_type(head: bytes | bytearray) -> str | None:
    """The type of an image that models can be shown, by its first twelve bytes; `None` for anything else."""
    for magic, type_ in _IMAGES:
        if head.startswith(magic):
            return type_
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None
