"""`/healthz` and `/readyz`: open to everybody, and truthful."""

from pathlib import Path

import aiohttp
import pytest

from support.client import Client
from support.server import RunningServer, running_server, server_process


@pytest.fixture
def stranger(shared: RunningServer) -> Client:
    """Asks without a key."""
    return shared.client.with_key(None)


@pytest.mark.parametrize(("path", "status"), [("/healthz", "ok"), ("/readyz", "ready")])
async def test_health_needs_no_key(stranger: Client, path: str, status: str) -> None:
    assert await stranger.get(path) == {"status": status}
    assert (await stranger.request("GET", path, headers={"Authorization": "Bearer wrong"})).status == 200


async def test_health_does_not_depend_on_a_model_server(tmp_path: Path) -> None:
    async with running_server(None, tmp_path) as server:
        assert await server.client.get("/readyz") == {"status": "ready"}


async def test_health_cannot_be_changed(stranger: Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await stranger.request("POST", path, {})
        assert (answer.status, answer.error["code"]) == (405, "method_not_supported")


async def test_a_server_whose_files_cannot_be_written_is_not_ready(tmp_path: Path) -> None:
    async with running_server(None, tmp_path) as server:
        assert (await server.client.request("GET", "/readyz")).status == 200
        (server.settings.files_dir / "partial").rmdir()
        answer = await server.client.request("GET", "/readyz")
        assert (answer.status, answer.error["type"]) == (503, "server_error")
        assert (await server.client.request("GET", "/healthz")).status == 200


async def test_looks_at_the_health_do_not_fill_the_log(tmp_path: Path) -> None:
    with server_process(None, tmp_path, log_level="info", log_format="json") as server:
        async with aiohttp.ClientSession(server.url) as session:
            for path in ("/healthz", "/readyz", "/v1/models"):
                await (await session.get(path)).read()
    requests = [line for line in server.log if '"event": "request"' in line]
    assert len(requests) == 1
    assert '"/v1/models"' in requests[0]
