from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from support.client import Client, Event

STREAM = ': ping\n\nevent: a\ndata: {"x":1}\n\nevent: done\ndata: [DONE]\n\n'


async def _echo(request: web.Request) -> web.Response:
    body = await request.json() if request.can_read_body else None
    shown = {"body": body, "key": request.headers.get("authorization"), "query": dict(request.query)}
    return web.json_response(shown, status=400 if "refuse" in request.query else 200)


async def _stream(request: web.Request) -> web.Response:
    assert (await request.json())["stream"] is True
    return web.Response(text=STREAM, content_type="text/event-stream")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/echo", _echo)
    app.router.add_post("/stream", _stream)
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as session:
        yield Client(session, "sk-1")


async def test_bodies_queries_and_keys_are_sent(client: Client) -> None:
    assert await client.post("/echo", {"a": 1}) == {"body": {"a": 1}, "key": "Bearer sk-1", "query": {}}
    assert (await client.get("/echo", limit=3))["query"] == {"limit": "3"}
    assert (await client.with_key(None).delete("/echo"))["key"] is None


async def test_a_refusal_fails_a_test_that_did_not_expect_one(client: Client) -> None:
    assert (await client.request("GET", "/echo", params={"refuse": 1})).status == 400
    with pytest.raises(AssertionError, match="400"):
        await client.get("/echo", refuse=1)


async def test_a_stream_is_read_frame_by_frame_without_comments(client: Client) -> None:
    assert await client.stream("/stream") == [Event("a", {"x": 1}), Event("done", "[DONE]")]
