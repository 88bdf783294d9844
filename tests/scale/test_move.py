"""An installation that was made over HTTP on SQLite goes on, on PostgreSQL, as if it had always been there."""

from pathlib import Path
from typing import Any

from support.client import Client
from support.databases import understudy_db
from support.files import file_field, new_file, send_form
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.postgres import database_url
from support.projects import client_of
from support.server import running_server
from support.talk import WEATHER, Talk, polled

NUL = "a\0b"


class Installation:
    """What was made, and the paths that a client asks for it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.other_key_paths: list[str] = []
        self.other_key: Client | None = None
        self.store: dict[str, Any] = {}
        self.waiting: dict[str, Any] = {}
        self.queued: dict[str, Any] = {}
        self.begun: dict[str, Any] = {}
        self.talks: dict[str, Talk] = {}

    async def answers(self, client: Client) -> dict[str, bytes]:
        got = {path: await client.download(path) for path in self.paths}
        assert {path: answer.status for path, answer in got.items()} == dict.fromkeys(self.paths, 200)
        return {path: answer.content for path, answer in got.items()}


async def populate(made: Installation, client: Client, model: ScriptedModel) -> None:
    await talks(made, client, model)
    await shelves(made, client)


async def talks(made: Installation, client: Client, model: ScriptedModel) -> None:
    """Threads with ended runs, one of them with a function's call, and one run that waits for its outputs."""
    for name, calls in (("plain", 0), ("called", 1), ("waiting", 1)):
        for _ in range(calls):
            model.script(Reply("Let me see.", Call(f"call_{name}", "weather", '{"city": "Oslo"}')))
        talk = await Talk.begin(client, content="@say Four.", tools=[WEATHER], metadata={"name": name})
        await client.post(talk.path, {"metadata": {"user": name, "odd": NUL}})
        run = await talk.run()
        if calls:
            run = await talk.until(run, "requires_action")
        if name == "called":
            await talk.submit(run, call_called="Rain")
        if name != "waiting":
            run = await talk.until(run, "completed")
        made.talks[name] = talk
        made.waiting = run
        made.paths += [
            f"/v1/assistants/{talk.assistant['id']}",
            talk.path,
            f"{talk.path}/messages?limit=100",
            f"{talk.path}/runs",
            f"{talk.path}/runs/{run['id']}",
            f"{talk.path}/runs/{run['id']}/steps",
        ]
    made.paths.append("/v1/assistants?order=asc")


async def shelves(made: Installation, client: Client) -> None:
    """Files, a file that came in parts, and a vector store that is searched."""
    files = [await new_file(client, f"Of {name} and rain.".encode(), filename=name) for name in ("a.txt", "b.md")]
    upload = await client.post(
        "/v1/uploads", {"bytes": 6, "filename": "c.bin", "mime_type": "text/plain", "purpose": "user_data"}
    )
    parts = [
        (await send_form(client, f"/v1/uploads/{upload['id']}/parts", file_field("data", piece, "p", None))).body["id"]
        for piece in (b"abc", b"def")
    ]
    upload = await client.post(f"/v1/uploads/{upload['id']}/complete", {"part_ids": parts})
    gone = await new_file(client, b"Gone")
    await client.delete(f"/v1/files/{gone['id']}")
    made.store = await client.post("/v1/vector_stores", {"name": "Rain", "metadata": {"x": "y"}})
    path = f"/v1/vector_stores/{made.store['id']}"
    batch = await client.post(f"{path}/file_batches", {"file_ids": [file["id"] for file in files]})

    async def indexed() -> bool | None:
        counts = (await client.get(path))["file_counts"]
        assert not counts["failed"]
        return counts["completed"] == len(files) or None

    await polled(indexed, seconds=20)
    made.paths += [f"/v1/files/{file['id']}" for file in (*files, upload["file"])]
    made.paths += [f"/v1/files/{file['id']}/content" for file in (*files, upload["file"])]
    made.paths += ["/v1/files", path, f"{path}/files", f"{path}/file_batches/{batch['id']}", "/v1/vector_stores"]
    made.paths += [f"{path}/files/{file['id']}/content" for file in files]


async def unended(made: Installation, client: Client) -> None:
    """A run that nobody has begun yet, on a server that does not work."""
    talk = await Talk.begin(client, content="@say Later.")
    made.talks["queued"], made.queued = talk, await talk.run()


async def interrupted(made: Installation, client: Client, model: ScriptedModel) -> None:
    """A run whose server stops while the model speaks."""
    model.script(Reply("Half", Silence()))
    talk = await Talk.begin(client, content="@say Whole.")
    run = await talk.run()
    await talk.until_it_speaks()
    made.talks["begun"], made.begun = talk, run


async def test_everything_goes_on_behind_a_move_from_sqlite_to_postgres(tmp_path: Path) -> None:
    old, new, url = tmp_path / "old", tmp_path / "new", database_url(tmp_path)
    made = Installation()
    async with ScriptedModel() as model:
        async with running_server(model, old, database_url=None) as server:
            await populate(made, server.client, model)
            other = await client_of(server, "red")
            kept = await other.post("/v1/threads", {"metadata": {"mine": "yes"}})
            await interrupted(made, server.client, model)
        async with running_server(model, old, database_url=None, worker=False) as server:
            await unended(made, server.client)
            before = await made.answers(server.client)
        said = await understudy_db(
            *("copy", "--from", f"sqlite:{old}", "--to", url),
            *("--files-from", str(old), "--files-to", str(new / "files")),
        )
        assert "they are alike" in said
        async with running_server(model, new, database_url=url) as server:
            client = server.client
            assert await made.answers(client) == before
            own = client.with_key(other._headers["Authorization"].removeprefix("Bearer "))
            assert await own.get(f"/v1/threads/{kept['id']}") == kept
            assert (await own.request("GET", made.paths[0])).status == 404
            await go_on(made, client)


async def go_on(made: Installation, client: Client) -> None:
    """What had not ended ends, and there can be more of everything."""
    for name, run in (("queued", made.queued), ("begun", made.begun)):
        talk = Talk(client, made.talks[name].assistant, made.talks[name].thread)
        await talk.until(run, "completed")
    assert [message["content"][0]["text"]["value"] for message in await talk.messages()][-1] == "Whole."
    talk = Talk(client, made.talks["waiting"].assistant, made.talks["waiting"].thread)
    await talk.submit(made.waiting, call_waiting="Snow")
    await talk.until(made.waiting, "completed")
    path = f"/v1/vector_stores/{made.store['id']}"
    found = await client.post(f"{path}/search", {"query": "rain"})
    assert {result["filename"] for result in found["data"]} == {"a.txt", "b.md"}
    again = await Talk.begin(client, content="@say More.")
    await again.until(await again.run(), "completed")
    assert (await client.get("/v1/assistants"))["data"][0] == again.assistant  # the newest comes first
    file = await new_file(client, b"Of snow.", filename="d.txt")
    await client.post(f"{path}/files", {"file_id": file["id"]})

    async def indexed() -> bool | None:
        return (await client.get(path))["file_counts"]["completed"] == 3 or None

    await polled(indexed, seconds=20)
    found = await client.post(f"{path}/search", {"query": "snow"})
    assert found["data"][0]["filename"] == "d.txt"
