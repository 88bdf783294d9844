"""Files in a server's own process: its memory, its death in the middle of an upload, and its full disk."""

import asyncio
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from support.blobs import stored_paths
from support.client import Client
from support.files import FORM, file_field, form, new_file, send_file, text_field
from support.memory import PeakMemory
from support.server import ServerProcess, server_process
from support.sockets import request_bytes
from support.talk import polled

MEBIBYTE = 1024 * 1024
LARGE = 64 * MEBIBYTE
MEMORY_MAX = 16 * MEBIBYTE


@asynccontextmanager
async def client_of(server: ServerProcess) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(server.url) as session:
        yield Client(session, server.key)


def port_of(server: ServerProcess) -> int:
    return int(server.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(None, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    async with client_of(server) as made:
        yield made


async def test_a_large_file_comes_and_goes_in_little_memory(server: ServerProcess, client: Client) -> None:
    await new_file(client)  # what is imported for the first file is none of its memory
    memory = PeakMemory(server.process.pid)
    before = memory.reset()
    headers = {"Authorization": f"Bearer {server.key}", **FORM}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        async with session.post("/v1/files", data=large_form()) as response:
            file = await response.json()
            assert (response.status, file["bytes"]) == (200, LARGE)
        received = 0
        async with session.get(f"/v1/files/{file['id']}/content") as response:
            async for piece in response.content.iter_chunked(MEBIBYTE):
                received += len(piece)
    assert received == LARGE
    assert memory.bytes() - before < MEMORY_MAX


async def large_form() -> AsyncIterator[bytes]:
    around = form(text_field("purpose", "assistants"), file_field("file", b"CONTENT", "large.bin", None))
    before, _, behind = around.partition(b"CONTENT")
    yield before
    for _ in range(LARGE // MEBIBYTE):
        yield bytes(MEBIBYTE)
    yield behind


async def test_a_reader_that_takes_nothing_costs_little_memory(server: ServerProcess, client: Client) -> None:
    content = bytes(2 * MEMORY_MAX)
    file = await new_file(client, content)
    memory = PeakMemory(server.process.pid)
    before = memory.reset()
    sent = request_bytes("GET", f"/v1/files/{file['id']}/content", server.key, b"")
    with socket.create_connection(("127.0.0.1", port_of(server))) as slow:
        slow.sendall(sent)
        assert await asyncio.to_thread(slow.recv, 1)
        assert (await client.download(f"/v1/files/{file['id']}/content")).content == content
        assert memory.bytes() - before < MEMORY_MAX


async def test_a_server_that_is_killed_in_the_middle_of_an_upload_leaves_nothing(tmp_path: Path) -> None:
    body = form(text_field("purpose", "assistants"), file_field("file", bytes(3 * MEBIBYTE), "a", None))
    files = tmp_path / "files"

    async def half_written() -> bool | None:
        return True if stored_paths(files) else None

    with server_process(None, tmp_path) as server:
        sent = request_bytes("POST", "/v1/files", server.key, body, content_type=FORM["Content-Type"])
        with socket.create_connection(("127.0.0.1", port_of(server))) as connection:
            await asyncio.to_thread(connection.sendall, sent[:-1000])
            assert await polled(half_written)
            server.kill()
    with server_process(None, tmp_path) as server:
        async with client_of(server) as client:
            assert (await client.get("/v1/files"))["data"] == []
        assert stored_paths(files) == []


@pytest.mark.skipif(sys.platform != "linux", reason="another process's disk can be made full on Linux alone")
async def test_a_full_disk_refuses_files_in_words_and_keeps_nothing_of_them(tmp_path: Path) -> None:
    with server_process(None, tmp_path) as server:
        pid = server.process.pid
        async with client_of(server) as client:
            kept = await new_file(client, b"before")
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (2 * MEBIBYTE, hard))
            answer = await send_file(client, bytes(3 * MEBIBYTE))
            assert (answer.status, answer.error["type"]) == (503, "server_error")
            assert answer.error["message"] == "The server cannot read or write its data just now."
            assert len(stored_paths(tmp_path / "files")) == 1
            assert [one["id"] for one in (await client.get("/v1/files"))["data"]] == [kept["id"]]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
            assert (await send_file(client, bytes(3 * MEBIBYTE))).status == 200
