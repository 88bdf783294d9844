"""Two servers whose vectors are compared by pgvector: what one indexes, the other finds at once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from support.files import new_file
from support.pgvector import vector_database_url
from support.server import RunningServer, running_server
from support.talk import polled
from support.weights import write_static_weights
from understudy.app import create_app
from understudy.settings import SettingError, Settings


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[RunningServer]]:
    """One that indexes, one that does not, and one that compares in memory."""
    (tmp_path / "weights").mkdir()
    write_static_weights(tmp_path / "weights")
    url = vector_database_url(tmp_path)
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(
                running_server(None, tmp_path, database_url=url, vector_index=index, worker=works)
            )
            for index, works in (("pgvector", True), ("pgvector", False), ("memory", False))
        ]


async def found(server: RunningServer, store: Any, query: str, **body: Any) -> list[tuple[str, float]]:
    page = await server.client.post(f"/v1/vector_stores/{store['id']}/search", {"query": query, **body})
    return [(one["content"][0]["text"], round(one["score"], 3)) for one in page["data"]]


async def attached(server: RunningServer, store: Any, text: bytes, **attributes: Any) -> str:
    """The id of a file that this server has indexed."""
    file = await new_file(server.client, filename="a.txt", content=text)
    path = f"/v1/vector_stores/{store['id']}/files"
    await server.client.post(path, {"file_id": file["id"], "attributes": attributes})

    async def completed() -> Any:
        found = await server.client.get(f"{path}/{file['id']}")
        return found if found["status"] == "completed" else None

    await polled(completed)
    return str(file["id"])


async def test_what_one_node_indexes_or_detaches_the_others_know_at_once(nodes: list[RunningServer]) -> None:
    worker, other, in_memory = nodes
    store = await worker.client.post("/v1/vector_stores", {})
    first = await attached(worker, store, b"flow", lang="en")
    for node in nodes:
        [(text, score)] = await found(node, store, "wing")
        assert text == "flow"
        assert score > 0.2  # it shares no word with the query: vectors found it
    await attached(worker, store, b"wing", lang="de")
    german = {"filters": {"type": "eq", "key": "lang", "value": "de"}}
    expected = await found(in_memory, store, "wing")
    for node in (worker, other):
        assert await found(node, store, "wing") == expected
        assert [text for text, _ in await found(node, store, "wing", **german)] == ["wing"]
    await other.client.delete(f"/v1/vector_stores/{store['id']}/files/{first}")
    for node in nodes:
        assert [text for text, _ in await found(node, store, "flow")] == ["wing"]


def test_pgvector_without_postgresql_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="needs PostgreSQL: set database_url"):
        create_app(Settings(data_dir=tmp_path, vector_index="pgvector"))
