"""`GET /models`, and requests that are passed through."""

import asyncio
import json
import zlib

import pytest

from models.serving import DONE, serving, stop, text
from support.raw_server import LIMIT_SECONDS, Exchange
from understudy.core import limits
from understudy.models.http import HttpModels
from understudy.models.upstream import Upstream
from understudy.ports import ModelError
from understudy.wire.models import Model


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"object": "list", "data": [{"id": "a", "object": "model", "created": 5, "owned_by": "me", "root": "x"}]},
            [Model(id="a", created=5, owned_by="me")],
        ),
        ({"data": [{"id": "a"}, {"id": "b", "created": None, "owned_by": None}]}, [("a", 0, "m"), ("b", 0, "m")]),
        ({"data": [{"id": "a", "created": 5.75}]}, [("a", 5, "m")]),
        ([{"id": "a"}], [("a", 0, "m")]),
        ({"data": []}, []),
    ],
)
async def test_models_are_listed_whatever_their_entries_lack(body: object, expected: list[object]) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(200, json.dumps(body).encode())

    async with serving(script) as (server, models):
        listed = await models.models()
        assert (server.exchanges[0].method, server.exchanges[0].path) == ("GET", "/v1/models")
        assert server.exchanges[0].headers["authorization"] == "Bearer sk-secret"
    made = [Model(id=e[0], created=e[1], owned_by=e[2]) if isinstance(e, tuple) else e for e in expected]
    assert list(listed) == made


async def test_models_are_asked_for_once_and_then_remembered() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(200, b'{"data": [{"id": "a"}]}')

    async with serving(script) as (server, models):
        first, second = await asyncio.gather(models.models(), models.models())
        assert first == second == await models.models()
        assert len(server.exchanges) == 1


async def test_models_are_asked_for_anew_when_the_answer_is_old() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(200, b'{"data": [{"id": "%d"}]}' % len(exchange.path))

    async with serving(script) as (server, _):
        models = HttpModels(Upstream(name="m", base_url=server.url), models_cache_seconds=0)
        await models.models()
        await models.models()
        await models.close()
        assert len(server.exchanges) == 2


async def test_all_who_wait_for_models_share_one_failure_and_the_next_one_asks_again() -> None:
    asked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if server.exchanges[0] is exchange:
            await asked.wait()
            exchange.answer(500, b"Words.")
        else:
            exchange.answer(200, b'{"data": []}')

    async with serving(script) as (server, models):
        waiting = [asyncio.ensure_future(models.models()) for _ in range(5)]
        await asyncio.sleep(0)
        asked.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, ModelError) and "Words." in outcome.message for outcome in outcomes)
        assert len(server.exchanges) == 1
        assert await models.models() == ()


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"data": [{"name": "a"}]}', b'{"data": 7}', b""])
async def test_a_listing_of_another_form_is_a_model_error(body: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(200, body)

    async with serving(script) as (_, models):
        with pytest.raises(ModelError, match="unexpected form"):
            await models.models()


async def test_the_context_window_is_the_settings() -> None:
    models = HttpModels(Upstream(name="m", base_url="http://host/v1", context_window_tokens=4096))
    assert models.context_window("any") == 4096
    plain = HttpModels(Upstream(name="m", base_url="http://host/v1"))
    assert plain.context_window("any") == limits.CONTEXT_WINDOW_TOKENS


# --- passed through


async def test_a_forwarded_request_goes_as_it_is_with_the_servers_own_key() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(
            200,
            b'{"data": []}',
            "X-Request-Id: req_1",
            "Keep-Alive: timeout=5",
            "Connection: keep-alive, x-hop",
            "X-Hop: 1",
            "Set-Cookie: a=b",
        )

    async with serving(script) as (server, models):
        answer = await models.forward("/embeddings", b'{ "input": null }', content_type="application/json; x=y")
        body = b"".join([piece async for piece in answer.pieces()])
        await answer.close()
        (exchange,) = server.exchanges
        again = await models.forward("/embeddings", b"{}", content_type="application/json")
        assert [piece async for piece in again.pieces()] == [b'{"data": []}']
        await again.close()
        assert server.connections == 1
    assert (exchange.method, exchange.path, exchange.body) == ("POST", "/v1/embeddings", b'{ "input": null }')
    assert exchange.headers["content-type"] == "application/json; x=y"
    assert exchange.headers["authorization"] == "Bearer sk-secret"
    assert (answer.status, answer.content_type, body) == (200, "application/json", b'{"data": []}')
    assert {name.lower(): value for name, value in answer.headers.items()} == {"x-request-id": "req_1"}


async def test_a_forwarded_stream_comes_piece_by_piece_and_decompressed() -> None:
    go_on = asyncio.Event()
    packer = zlib.compressobj()

    async def script(exchange: Exchange) -> None:
        exchange.head(200, "Transfer-Encoding: chunked", "Content-Encoding: deflate")
        exchange.piece(packer.compress(text("a")) + packer.flush(zlib.Z_SYNC_FLUSH))
        await go_on.wait()
        exchange.piece(packer.compress(stop() + DONE) + packer.flush())
        exchange.finish()

    async with serving(script) as (_, models):
        answer = await models.forward("/chat/completions", b"{}", content_type="application/json")
        pieces = answer.pieces()
        assert await anext(pieces) == text("a")
        go_on.set()
        assert b"".join([piece async for piece in pieces]) == stop() + DONE
        await answer.close()
    assert answer.content_type == "text/event-stream"
    assert dict(answer.headers) == {}


async def test_an_error_status_is_forwarded() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(429, b'{"error": {}}', "Retry-After: 7")

    async with serving(script) as (_, models):
        answer = await models.forward("/embeddings", b"{}", content_type="application/json")
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "7"
        assert [piece async for piece in answer.pieces()] == [b'{"error": {}}']
        await answer.close()


async def test_a_refusal_of_our_key_is_not_forwarded() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(401, b'{"error": {"message": "Incorrect API key provided: sk-s***et"}}')

    async with serving(script) as (_, models):
        with pytest.raises(ModelError, match=r"refused the configured API key \(status 401\)"):
            await models.forward("/embeddings", b"{}", content_type="application/json")


async def test_closing_a_forwarded_answer_that_still_arrives_ends_its_connection() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("a"))
        await exchange.gone()

    async with serving(script) as (server, models):
        answer = await models.forward("/chat/completions", b"{}", content_type="application/json")
        pieces = answer.pieces()
        await anext(pieces)
        await answer.close()
        await server.exchanges[0].gone()
        assert [piece async for piece in pieces] == []


async def test_a_forwarded_answer_that_is_cut_or_silent_is_a_model_error() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.head(200, "Content-Length: 100")
        if exchange.body == b"cut":
            exchange.close()
        else:
            await exchange.gone()

    async with serving(script, silence_seconds=0.1) as (_, models), asyncio.timeout(LIMIT_SECONDS):
        for body, words in ((b"cut", "cut off"), (b"silent", "sent nothing")):
            answer = await models.forward("/embeddings", body, content_type="text/plain")
            with pytest.raises(ModelError, match=words):
                await anext(answer.pieces())
            await answer.close()


@pytest.mark.parametrize("path", ["/models", "/../admin", "", "/chat/completions?x=y"])
async def test_no_other_path_is_forwarded(path: str) -> None:
    models = HttpModels(Upstream(name="m", base_url="http://host/v1"))
    with pytest.raises(ValueError, match="is not forwarded"):
        await models.forward(path, b"", content_type="application/json")
