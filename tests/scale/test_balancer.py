"""Two servers behind the nginx that deploy/ ships, on one PostgreSQL, one Redis and one bucket, as clients see them."""

import asyncio
import json
import os
import re
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from sdk.environments import CLIENTS, build_all
from support.balancer import Balancer, balancer
from support.bucket import bucket_of
from support.client import Answer, Client, Event
from support.files import file_field, send_form, text_field
from support.model_server import Reply, ScriptedModel, Silence
from support.postgres import database_url
from support.raw_server import Exchange, RawServer, raw_server
from support.redis import shared_redis
from support.server import KEY, ServerProcess, server_process
from support.talk import Talk
from understudy import entropy
from understudy.core.ids import ProjectId
from understudy.keys import Keys
from understudy.store.opening import open_store

PAGE = Path(__file__).parents[2] / "docs" / "scale-out.md"
MEBIBYTE = 1024 * 1024
SCRIPT_SECONDS = 120
# What an official client is seen to do in a developer's run; in CI it is everything but the sandbox.
FEW_SCENARIOS = (
    "stream_sends_text_in_the_documented_order",
    "parallel_function_calls_are_streamed_and_submitted",
    "cancelled_stream_ends_cancelled",
    "uploads_are_sent_whole_or_in_parts",
    "vector_stores_are_searched",
    "file_search_streams_its_step_and_true_citations",
)


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, object]]:
    """The settings that all nodes have."""
    directory = tmp_path_factory.mktemp("shared")
    bucket, access = bucket_of(directory)
    with pytest.MonkeyPatch.context() as patch:
        for name, text in access.items():
            patch.setenv({"aws_endpoint": "AWS_ENDPOINT_URL"}.get(name, name.upper()), text)
        yield {
            "database_url": database_url(directory),
            "redis_url": shared_redis().url,
            "files_url": f"s3://{bucket}/files",
        }


@pytest.fixture(scope="module")
def nodes(
    model: ScriptedModel, shared: Mapping[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ServerProcess]]:
    with ExitStack() as opened:
        yield [
            opened.enter_context(server_process(model.base_url, tmp_path_factory.mktemp("node"), **shared))
            for _ in range(2)
        ]


@pytest.fixture(scope="module")
def front(nodes: list[ServerProcess], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    with balancer(tmp_path_factory.mktemp("nginx") / "it", [node.url for node in nodes]) as made:
        yield made


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(url) as session:
        yield Client(session, KEY)


@pytest.fixture
async def client(front: Balancer) -> AsyncIterator[Client]:
    async with client_of(front.url) as made:
        yield made


def text_of(events: list[Event]) -> str:
    deltas = [event.data["delta"]["content"][0] for event in events if event.name == "thread.message.delta"]
    return "".join(delta["text"]["value"] for delta in deltas)


async def until_text(events: AsyncIterator[Event]) -> list[Event]:
    """What comes up to the first token."""
    seen = []
    async for event in events:
        seen.append(event)
        if event.name == "thread.message.delta":
            return seen
    raise AssertionError("the stream ended without a token")


async def test_each_token_is_here_before_the_model_says_the_next(client: Client, model: ScriptedModel) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    model.script(Reply("One", Silence(gates[0]), " two", Silence(gates[1]), " three", Silence(gates[2]), "."))
    talk = await Talk.begin(client)
    body = {"assistant_id": talk.assistant["id"]}
    async with asyncio.timeout(10), client.open_stream(f"{talk.path}/runs", body) as events:
        seen = []
        for gate in gates:
            seen += await until_text(events)
            gate.set()  # had nginx kept the token to itself, this line would never be reached
        seen += [event async for event in events]
    assert text_of(seen) == "One two three."
    assert [event.name for event in seen][-2:] == ["thread.run.completed", "done"]


async def test_a_stream_is_picked_up_where_it_was_dropped_by_whichever_node(
    client: Client, model: ScriptedModel
) -> None:
    gate = asyncio.Event()
    model.script(Reply("One", Silence(gate), " two", "."))
    talk = await Talk.begin(client)
    async with client.open_stream(f"{talk.path}/runs", {"assistant_id": talk.assistant["id"]}) as events:
        *seen, lost = await until_text(events)
    run = await talk.newest_run()
    # Both nodes are asked: each request goes to the one with fewer of them.
    async with AsyncExitStack() as opened, asyncio.timeout(10):
        resumed = [
            await opened.enter_async_context(client.resume(f"{talk.path}/runs/{run['id']}/stream", seen[-1].id))
            for _ in range(2)
        ]
        again = [await until_text(events) for events in resumed]
        gate.set()
        rests = [[event async for event in events] for events in resumed]
    assert again == [[lost], [lost]]
    for rest in rests:
        assert text_of([lost, *rest]) == "One two."
        assert [event.name for event in rest][-2:] == ["thread.run.completed", "done"]


async def test_a_run_is_cancelled_wherever_it_is(client: Client, model: ScriptedModel) -> None:
    for _ in range(4):
        model.script(Reply("Well", Silence()))
        talk = await Talk.begin(client)
        run = await talk.run()
        await talk.until_it_speaks()
        await talk.cancel(run)
        await talk.until(run, "cancelled", seconds=2)


async def test_a_request_waits_for_the_end_of_a_run(client: Client, model: ScriptedModel) -> None:
    for _ in range(2):
        gate = asyncio.Event()
        model.script(Reply("Well", Silence(gate), "."))
        talk = await Talk.begin(client)
        run = await talk.run()
        waiting = asyncio.create_task(client.get(f"{talk.path}/runs/{run['id']}", wait=5))
        await talk.until_it_speaks()
        assert not waiting.done()
        gate.set()
        assert (await waiting)["status"] == "completed"


async def test_large_files_go_through_without_touching_the_disk_of_nginx(client: Client, front: Balancer) -> None:
    content = os.urandom(MEBIBYTE) * 20
    answer = await upload(client, content)
    assert answer.status == 200
    for _ in range(2):  # one node wrote it, both read it
        assert (await client.download(f"/v1/files/{answer.body['id']}/content")).content == content
    assert "temporary file" not in front.log.read_text("utf-8")


async def upload(client: Client, content: bytes) -> Answer:
    return await send_form(
        client, "/v1/files", text_field("purpose", "assistants"), file_field("file", content, "large.bin", None)
    )


async def test_what_is_too_large_is_refused_in_the_words_of_the_api(client: Client) -> None:
    refused = await client.request("POST", "/v1/threads", raw=b" " * (17 * MEBIBYTE))
    assert (refused.status, refused.error["type"]) == (413, "invalid_request_error")


async def test_what_a_client_sends_along_arrives(client: Client) -> None:
    for header in ({"Authorization": f"Bearer {KEY}"}, {"api-key": KEY}):
        answer = await client.with_key(None).request("GET", "/v1/assistants", headers=header)
        assert answer.status == 200
    assert (await client.with_key(None).request("GET", "/v1/assistants")).status == 401


async def test_a_killed_node_is_left_out_and_no_post_is_done_twice(
    model: ScriptedModel, shared: Mapping[str, object], nodes: list[ServerProcess], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    with (
        server_process(model.base_url, tmp_path / "data", **shared) as doomed,
        balancer(tmp_path / "nginx", [doomed.url, nodes[0].url]) as front,
    ):
        async with client_of(front.url) as client:
            begun = [asyncio.create_task(_make_thread(client, tmp_path.name, number)) for number in range(60)]
            await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
            doomed.kill()
            statuses = await asyncio.gather(*begun)
            assert set(statuses) <= {200, 503}
            # From now on everybody is answered by the other one.
            later = [await _make_thread(client, tmp_path.name, number) for number in range(100, 120)]
            assert later == [200] * 20
            page = await client.get(f"/v1/threads?limit=100&metadata[test]={tmp_path.name}")
            made = Counter(int(thread["metadata"]["number"]) for thread in page["data"])
    answered = [number for number, status in enumerate(statuses) if status == 200] + list(range(100, 120))
    assert set(answered) <= set(made)
    assert max(made.values()) == 1


async def _make_thread(client: Client, test: str, number: int) -> int:
    body = {"metadata": {"test": test, "number": str(number)}}
    return (await client.request("POST", "/v1/threads", body)).status


async def test_only_requests_that_read_or_were_not_sent_are_tried_at_another_node(
    nodes: list[ServerProcess], tmp_path: Path
) -> None:
    async def breaks_off(exchange: Exchange) -> None:
        exchange.reset()

    async with AsyncExitStack() as opened:
        broken = [await opened.enter_async_context(raw_server(breaks_off)) for _ in range(2)]
        front = opened.enter_context(balancer(tmp_path / "nginx", [_root(server) for server in broken]))
        client = await opened.enter_async_context(client_of(front.url))
        sent = await client.request("POST", "/v1/threads", {})
        assert (sent.status, sent.error["type"]) == (503, "server_error")
        assert [len(server.exchanges) for server in broken] in ([0, 1], [1, 0])
        await client.request("GET", "/v1/threads")
        assert sum(len(server.exchanges) for server in broken) == 3
    with balancer(tmp_path / "again", [_root(broken[0]), nodes[0].url]) as front:  # nobody listens at the first one now
        async with client_of(front.url) as client:
            assert [(await client.request("POST", "/v1/threads", {})).status for _ in range(6)] == [200] * 6


def _root(server: RawServer) -> str:
    return server.url.removesuffix("/v1")


async def test_a_node_that_is_stopped_hands_its_runs_on_and_no_request_fails(
    model: ScriptedModel, shared: Mapping[str, object], nodes: list[ServerProcess], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    with (
        server_process(model.base_url, tmp_path / "data", **shared) as old,
        balancer(tmp_path / "nginx", [old.url, nodes[0].url]) as front,
    ):
        async with client_of(old.url) as direct, client_of(front.url) as client:
            model.script(Reply("Well", Silence()), Reply("Well, yes."))
            talk = await Talk.begin(direct)
            run = await talk.run()
            await talk.until_it_speaks()
            stopping = asyncio.create_task(asyncio.to_thread(old.stop))
            statuses = []
            while not stopping.done():
                statuses.append((await client.request("GET", "/v1/assistants")).status)
            await stopping
            assert set(statuses) == {200}
            ended = await Talk(client, talk.assistant, talk.thread).until(run, "completed")
            assert ended["id"] == run["id"]


async def test_the_first_requests_that_the_page_tells_to_paste_are_answered(front: Balancer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OTHER=1\nUNDERSTUDY_API_KEY={KEY}\n", "utf-8")
    (block,) = re.findall(r"```sh\n(export OPENAI_BASE_URL.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    lines = "set -eu\n" + block.replace("http://127.0.0.1:8000", front.url)
    shell = await asyncio.create_subprocess_exec("bash", "-c", lines, cwd=tmp_path, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(SCRIPT_SECONDS):
        out, err = await shell.communicate()
    assert (shell.returncode, err) == (0, b"")
    said = out.decode()
    assert said.index('"object":"list"') < said.index("event: thread.run.created") < said.index("data: [DONE]")


@pytest.mark.sdk
async def test_an_official_client_finds_two_nodes_to_be_one_server(
    front: Balancer, model: ScriptedModel, shared: Mapping[str, object]
) -> None:
    """The scenarios of tests/sdk, each request at whichever node."""
    client = next(client for client in CLIENTS if client.name == "python-3")
    if (missing := (await asyncio.to_thread(build_all, [client]))[client]) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    scenarios = (Path(client.command[1]).parent / "scenario_names.txt").read_text("utf-8").split()
    all_names = [name for name in scenarios if not name.startswith("code_")]
    names = all_names if os.environ.get("CI") == "true" else FEW_SCENARIOS
    given = {
        "OPENAI_BASE_URL": f"{front.url}/v1",
        "OPENAI_API_KEY": await _key_of_a_project(str(shared["database_url"])),
        "MODEL_REQUESTS_URL": model.base_url.removesuffix("/v1") + "/__requests",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENAI_"))}
    script = await asyncio.create_subprocess_exec(
        *client.command, *names, cwd=client.directory, env={**inherited, **given}, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(SCRIPT_SECONDS):
        out, err = await script.communicate()
    found = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    assert [line["name"] for line in found] == [*names], err.decode()[-2000:]
    assert not [line for line in found if not line["ok"]]


async def _key_of_a_project(url: str) -> str:
    store = await open_store(url)
    try:
        return (await Keys(store, entropy.now).create("client", ProjectId("client")))[1]
    finally:
        await store.close()
