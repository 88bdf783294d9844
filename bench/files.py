"""A large file on its way in and out: what it takes of a server."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Final, TypeVar

from bench.processes import KEY, Failed, Server, understudy
from bench.stage import Stage
from bench.table import Row, row, shown

__all__ = ["large_file"]

T = TypeVar("T")

_MEBIBYTE: Final = 1024 * 1024
_BOUNDARY: Final = "understudy-bench-0d5b2c"
_SECONDS_MAX: Final = 300.0


def large_file(stage: Stage, mebibytes: int) -> list[Row]:
    """The memory that a server takes more, at its highest, while one client sends and reads a file."""
    with understudy(stage.model, stage.directory / "files") as server:
        _download(server, _upload(server, 1))  # what is imported for the first file is none of its memory
        before = _resting(server)
        file_id, up_seconds = _timed(lambda: _upload(server, mebibytes))
        up = server.peak_bytes() - before
        before = _resting(server)
        _, down_seconds = _timed(lambda: _download(server, file_id))
        down = server.peak_bytes() - before
    what = f"memory of the server while a file of {mebibytes} MiB is uploaded and downloaded: added"
    rates = [f"{shown(1.048576 * mebibytes / seconds)} MB/s" for seconds in (up_seconds, down_seconds)]
    figures = f"{shown(up / 1e6)} and {shown(down / 1e6)} MB, at {' and '.join(rates)}"
    return [row(what, max(up, down) / 1e6, " MB", at_most=32, understudy=figures)]


def _resting(server: Server) -> int:
    server.forget_peak()
    return server.resident_bytes()


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.monotonic()
    result = call()
    return result, time.monotonic() - began


def _upload(server: Server, mebibytes: int) -> str:
    """The id of a new file."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n'
    ).encode()
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    length = len(head) + mebibytes * _MEBIBYTE + len(tail)
    more = (f"content-type: multipart/form-data; boundary={_BOUNDARY}", f"content-length: {length}")
    with _asked(server, "POST", "/v1/files", *more) as connection:
        connection.sendall(head)
        piece = bytes(range(256)) * (_MEBIBYTE // 256)
        for _ in range(mebibytes):
            connection.sendall(piece)
        connection.sendall(tail)
        with _answer(connection) as answer:
            file_id: str = json.loads(answer.read())["id"]
            return file_id


def _download(server: Server, file_id: str) -> None:
    with _asked(server, "GET", f"/v1/files/{file_id}/content") as connection, _answer(connection) as answer:
        while answer.read(_MEBIBYTE):
            pass


@contextmanager
def _asked(server: Server, method: str, path: str, *more: str) -> Iterator[socket.socket]:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {KEY}", "connection: close", *more]
    with socket.create_connection(("127.0.0.1", server.port), _SECONDS_MAX) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


@contextmanager
def _answer(connection: socket.socket) -> Iterator[HTTPResponse]:
    answer = HTTPResponse(connection)
    try:
        answer.begin()
        if answer.status != 200:
            raise Failed(f"A file was answered with {answer.status}: {answer.read(1000).decode()}")
        yield answer
    finally:
        answer.close()
