"""A server whose PostgreSQL is away, by itself: what its clients are answered."""

from pathlib import Path

from support.model_server import ScriptedModel
from support.postgres import database_url, shared_postgres
from support.server import running_server
from support.talk import Talk


async def test_without_postgres_requests_are_refused_and_it_goes_on_when_that_is_back(tmp_path: Path) -> None:
    url, postgres = database_url(tmp_path), shared_postgres()
    async with ScriptedModel() as model, running_server(model, tmp_path, database_url=url) as server:
        talk = await Talk.begin(server.client, content="@say Hi")
        postgres.stop()
        try:
            for method, path in (("POST", "/v1/threads"), ("GET", talk.path)):
                refused = await server.client.request(method, path)
                assert (refused.status, refused.error["type"]) == (503, "server_error")
        finally:
            postgres.start()
        await talk.until(await talk.run(), "completed")
