"""What the server and its reading child say to each other: frames of a length and a msgpack object."""

import struct
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from understudy.ports import Chunk
from understudy.wire.tools import StaticChunkingOptions
from understudy.wire.vector_stores import FileErrorCode

__all__ = ["HEAD_BYTES", "Answer", "Finished", "Limits", "Malformed", "Order", "Read", "Refused", "body_bytes", "frame"]

_HEAD: Final = struct.Struct(">I")
HEAD_BYTES: Final = _HEAD.size


class Malformed(Exception):
    """No frame that one side would send."""


class Limits(Struct, frozen=True, kw_only=True):
    """What a file may cost at most. `text_bytes` are of UTF-8, each passage of the file counted once."""

    memory_bytes: int
    cpu_seconds: int
    text_bytes: int


class Order(Struct, frozen=True, kw_only=True):
    """One file to read. `weights` is the directory of the built-in embedding if vectors are wanted."""

    path: str
    file_name: str
    mime_type: str
    chunking: StaticChunkingOptions
    weights: str | None
    limits: Limits


class Read(Struct, frozen=True, tag=True):
    chunks: list[Chunk]


class Finished(Struct, frozen=True, tag=True):
    """All of the file has been sent; `chunks` is how many there were."""

    chunks: int


class Refused(Struct, frozen=True, tag=True):
    """The file cannot be indexed. `detail` is for the log: names of errors and places in our code."""

    code: FileErrorCode
    message: str
    detail: str = ""


Answer: TypeAlias = Read | Finished | Refused


def frame(message: Order | Answer) -> bytes:
    body = msgspec.msgpack.encode(message)
    return _HEAD.pack(len(body)) + body


def body_bytes(head: bytes, at_most: int) -> int:
    """How long the body is that follows this head. Raises `Malformed`."""
    (length,) = _HEAD.unpack(head)
    if length > at_most:
        raise Malformed(f"a frame of {length} bytes")
    return int(length)
