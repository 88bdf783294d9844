"""The bucket goes away under three nodes, and the disk on which they stage what is on its way there fills up."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from support.bucket import BucketServer, new_bucket_server
from support.client import Client
from support.files import new_file, send_file
from support.model_server import ScriptedModel
from support.nodes import Node, nodes
from support.postgres import database_url
from support.talk import polled

LARGE = os.urandom(3 * 2**20)
REFUSED_SECONDS = 20.0  # long before the SDKs lose their patience


@pytest.fixture
def server() -> Iterator[BucketServer]:
    with new_bucket_server() as opened:
        yield opened


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    return tmp_path.name.replace("_", "-")


@pytest.fixture
async def three(
    server: BucketServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Node]]:
    config = server.make(bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", config.pop("aws_endpoint"))
    for name, value in config.items():
        monkeypatch.setenv(name.upper(), value)
    async with ScriptedModel() as model:
        # Long enough for an outage on a busy machine not to cost a file all of its tries.
        limits = {"INGEST_RETRY_SECONDS": 4.0, "BUCKET_SILENCE_SECONDS": 1.0}
        shared = {"database_url": database_url(tmp_path), "files_url": f"s3://{bucket}/files"}
        shared["download_assistants_files"] = "true"
        async with nodes(model, tmp_path, limits=limits, **shared) as opened:
            yield opened


async def keys_of(server: BucketServer, bucket: str) -> set[str]:
    store = S3Store.from_url(f"s3://{bucket}/files", config=server.make(bucket), client_options={"allow_http": True})
    found = await asyncio.to_thread(lambda: [entry["path"] for batch in obstore.list(store) for entry in batch])
    return {path for path in found if not path.startswith(".")}


@pytest.mark.parametrize("silent", [False, True] if os.environ.get("CI") == "true" else [False])
async def test_without_the_bucket_files_are_refused_and_what_is_indexed_waits(
    three: list[Node], server: BucketServer, bucket: str, silent: bool
) -> None:
    a, b, c = (node.client for node in three)
    kept = await new_file(a, b"Rain in Bergen.\n" * 100, filename="rain.txt")
    store = await a.post("/v1/vector_stores", {})
    await asyncio.to_thread(server.stop)
    listener = server.listen_without_answering() if silent else None
    began = time.monotonic()
    answers = await asyncio.gather(
        send_file(a, LARGE, filename="late.txt"),
        b.request("GET", f"/v1/files/{kept['id']}/content"),
        c.request("GET", "/readyz"),
    )
    assert [answer.status for answer in answers] == [503, 503, 503]
    assert time.monotonic() - began < REFUSED_SECONDS
    await c.post(f"/v1/vector_stores/{store['id']}/files", {"file_id": kept["id"]})

    async def put_off() -> bool | None:
        return True if any(node.logged("file_put_off") for node in three) else None

    await polled(put_off, seconds=30)
    assert [file["id"] for file in (await b.get("/v1/files"))["data"]] == [kept["id"]]
    if listener is not None:
        listener.close()
    await asyncio.to_thread(server.start)
    assert (await b.download(f"/v1/files/{kept['id']}/content")).content == b"Rain in Bergen.\n" * 100
    late = await new_file(c, LARGE, filename="late.txt")
    assert (await a.download(f"/v1/files/{late['id']}/content")).content == LARGE
    await polled(lambda: indexed(b, store["id"], kept["id"]), seconds=60)
    assert len(await keys_of(server, bucket)) == 2


async def indexed(client: Client, store_id: str, file_id: str) -> bool | None:
    file = await client.get(f"/v1/vector_stores/{store_id}/files/{file_id}")
    assert file["status"] in ("in_progress", "completed"), file["last_error"]
    return True if file["status"] == "completed" else None


async def test_a_node_without_room_to_stage_files_refuses_them_and_others_take_them(
    three: list[Node], server: BucketServer, bucket: str
) -> None:
    full, other, _ = three
    kept = await new_file(full.client, b"before", filename="a.txt")
    with full.full_disk():
        answer = await send_file(full.client, LARGE, filename="b.txt")
        assert (answer.status, answer.error["type"]) == (503, "server_error")
        elsewhere = await new_file(other.client, LARGE, filename="c.txt")
        assert (await full.client.download(f"/v1/files/{elsewhere['id']}/content")).content == LARGE
    later = await new_file(full.client, LARGE, filename="d.txt")
    listed = {file["id"] for file in (await other.client.get("/v1/files"))["data"]}
    assert listed == {kept["id"], elsewhere["id"], later["id"]}
    assert len(await keys_of(server, bucket)) == 3
