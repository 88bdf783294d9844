"""Files on their way into vector stores, over HTTP: read, refused, waited for, and gone on with after a death."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.client import Client
from support.document_files import docx, pdf, xlsx
from support.files import new_file
from support.server import ON_POSTGRES, RunningServer, ServerProcess, server_process
from support.talk import polled

WORDS = "The quick brown fox jumps over the lazy dog. "
SECONDS = 30.0


async def indexed(client: Client, content: bytes, filename: str, **body: Any) -> tuple[str, dict[str, Any]]:
    """The path of the file in a new store, and how it ended."""
    file = await new_file(client, content, filename=filename, content_type=None)
    store = await client.post("/v1/vector_stores", {"file_ids": [file["id"]], **body})
    path = f"/v1/vector_stores/{store['id']}/files/{file['id']}"
    return path, await ended(client, path)


async def ended(client: Client, path: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = await client.get(path)
        return None if found["status"] == "in_progress" else found

    return await polled(look, seconds=SECONDS)


async def text(client: Client, path: str) -> str:
    return "".join(part["text"] for part in (await client.get(f"{path}/content"))["data"])


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        pytest.param(WORDS.encode(), "a.txt", id="text"),
        pytest.param(WORDS.encode("utf-16"), "a.md", id="utf-16"),
        pytest.param(f"<html><p>{WORDS}</p></html>".encode(), "a.html", id="html"),
        pytest.param(pdf([WORDS]), "a.pdf", id="pdf"),
        pytest.param(docx(WORDS), "a.docx", id="docx"),
        pytest.param(xlsx({"S": f'<row><c t="str"><v>{WORDS}</v></c></row>'}), "a.xlsx", id="xlsx"),
    ],
)
async def test_a_file_is_read_and_can_be_found(shared: RunningServer, content: bytes, filename: str) -> None:
    path, file = await indexed(shared.client, content, filename)
    assert (file["status"], file["last_error"]) == ("completed", None)
    assert file["usage_bytes"] > 0
    assert WORDS.strip() in await text(shared.client, path)
    page = await shared.client.post(f"{path.rpartition('/files/')[0]}/search", {"query": "brown foxes"})
    assert [found["filename"] for found in page["data"]] == [filename]


@pytest.mark.parametrize(
    ("content", "filename", "code", "words"),
    [
        (b"", "a.txt", "invalid_file", "because it is empty."),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.png", "unsupported_file", "PNG images"),
        (pdf(["Some words"] * 9)[:900], "a.pdf", "invalid_file", "damaged"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(
    shared: RunningServer, content: bytes, filename: str, code: str, words: str
) -> None:
    path, file = await indexed(shared.client, content, filename)
    assert (file["status"], file["last_error"]["code"]) == ("failed", code)
    assert words in file["last_error"]["message"]
    store = await shared.client.get(path.partition("/files/")[0])
    assert (store["status"], store["file_counts"]["failed"]) == ("completed", 1)


async def test_chunks_are_cut_as_was_asked(shared: RunningServer) -> None:
    static = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}
    strategy = {"type": "static", "static": static}
    path, _ = await indexed(shared.client, WORDS.encode() * 100, "a.txt", chunking_strategy=strategy)
    parts = (await shared.client.get(f"{path}/content"))["data"]
    assert len(parts) > 9
    assert "".join(part["text"] for part in parts) == (WORDS * 100).rstrip()  # blanks alone are no chunk


async def test_a_batch_ends_with_its_last_file(shared: RunningServer) -> None:
    client = shared.client
    file_ids = [(await new_file(client, content))["id"] for content in (b"One.", b"", b"Two.")]
    store = await client.post("/v1/vector_stores", {})
    made = await client.post(f"/v1/vector_stores/{store['id']}/file_batches", {"file_ids": file_ids})
    batch = await ended(client, f"/v1/vector_stores/{store['id']}/file_batches/{made['id']}")
    counts = batch["file_counts"]
    assert (batch["status"], counts["completed"], counts["failed"]) == ("completed", 2, 1)


@asynccontextmanager
async def client_of(server: ServerProcess) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(server.url) as session:
        yield Client(session, server.key)


def jobs(data_dir: Path, sql: str) -> int:
    with closing(sqlite3.connect(data_dir / "understudy.db")) as connection, connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if sql.startswith("SELECT") else cursor.rowcount


@pytest.mark.skipif(ON_POSTGRES, reason="it looks into the file of SQLite")
async def test_a_killed_server_leaves_a_file_that_the_next_one_indexes(tmp_path: Path) -> None:
    content = WORDS.encode() * 20_000
    with server_process(None, tmp_path) as first:
        async with client_of(first) as client:
            file = await new_file(client, content)
            store = await client.post("/v1/vector_stores", {"file_ids": [file["id"]]})

            async def some_chunks() -> bool | None:
                return True if jobs(tmp_path, "SELECT count(*) FROM chunks") else None

            await polled(some_chunks, seconds=SECONDS)
            first.kill()
    assert jobs(tmp_path, "UPDATE store_files SET lease_until = 0 WHERE status = 'in_progress'") == 1
    with server_process(None, tmp_path) as second:
        async with client_of(second) as client:
            path = f"/v1/vector_stores/{store['id']}/files/{file['id']}"
            assert (await ended(client, path))["status"] == "completed"
            parts = [part["text"] for part in (await client.get(f"{path}/content"))["data"]]
    assert jobs(tmp_path, "SELECT count(*) FROM chunks") == len(parts)
    assert all(part in WORDS * 100 for part in parts[:3])
