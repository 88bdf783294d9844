"""`RoutedModels` over model servers of raw bytes: who is asked, when the next one is, and what it is sent."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from models.serving import DONE, REQUEST, read_all, said, stop, text
from support.raw_server import Exchange, RawServer, Script, raw_server
from understudy.core import limits
from understudy.models.http import HttpModels
from understudy.models.router import RoutedModels
from understudy.models.routes import Route, Routes, Target
from understudy.models.upstream import Upstream
from understudy.ports import ModelError, UnknownModel

A, B = Target(upstream="a"), Target(upstream="b", model="b-model")
BOTH = (Route(model="*", to=(A, B)),)
RATE = b'{"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}'
QUOTA = b'{"error": {"message": "Spent.", "code": "insufficient_quota"}}'


async def speak(exchange: Exchange) -> None:
    exchange.stream()
    exchange.piece(text("from b"))
    exchange.piece(stop() + DONE)
    exchange.finish()


def status(code: int, body: bytes = b"", *headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        exchange.answer(code, body, *headers)

    return script


async def hang_up(exchange: Exchange) -> None:
    exchange.close()


async def say_nothing(exchange: Exchange) -> None:
    await exchange.gone()


async def refuse_all(exchange: Exchange) -> None:
    raise AssertionError(f"asked for {exchange.path}")


@asynccontextmanager
async def routed(
    a: Script, b: Script, *rows: Route, aliases: dict[str, str] | None = None, **of_a: object
) -> AsyncIterator[tuple[RawServer, RawServer, RoutedModels]]:
    """Two servers behind one `RoutedModels`; `of_a` is more about the first."""
    async with raw_server(a) as first, raw_server(b) as second:
        settings = {"name": "a", "base_url": first.url, "context_window_tokens": 1000, **of_a}
        models = RoutedModels(
            {
                "a": HttpModels(Upstream(**settings)),  # type: ignore[arg-type]
                "b": HttpModels(Upstream(name="b", base_url=second.url, context_window_tokens=2000)),
            },
            Routes(rows=rows or BOTH, aliases=aliases or {}),
        )
        try:
            yield first, second, models
        finally:
            await models.close()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def asked_for(server: RawServer) -> list[str]:
    return [json.loads(exchange.body)["model"] for exchange in server.exchanges]


async def forwarded(models: RoutedModels, body: bytes) -> tuple[int, bytes]:
    answer = await models.forward("/chat/completions", body, content_type="application/json")
    try:
        return answer.status, b"".join([piece async for piece in answer.pieces()])
    finally:
        await answer.close()


# --- the next server


@pytest.mark.parametrize(
    "script",
    [
        status(500),
        status(503, b"", "Retry-After: 1"),
        status(429, RATE),
        status(429, QUOTA),
        status(408),
        hang_up,
    ],
    ids=["500", "503", "429", "quota", "408", "no answer"],
)
async def test_the_next_server_is_asked_for_its_own_model_when_one_is_busy_or_broken(script: Script) -> None:
    async with routed(script, speak) as (first, second, models):
        assert said(await read_all(await models.chat(REQUEST))) == "from b"
        assert (await forwarded(models, b'{"model": "m"}'))[0] == 200
        assert (asked_for(first), asked_for(second)) == (["m", "m"], ["b-model", "b-model"])


async def test_a_question_of_our_own_goes_to_the_next_server_too() -> None:
    async with routed(status(503), status(200, b'{"data": []}')) as (first, second, models):
        assert await models.ask("/embeddings", "m", {"input": ["a"]}) == b'{"data": []}'
        assert (asked_for(first), asked_for(second)) == (["m"], ["b-model"])
        assert second.exchanges[0].path == "/v1/embeddings"
        with pytest.raises(ValueError, match="is not asked"):
            await models.ask("/chat/completions", "m", {})


async def test_a_refused_or_endless_answer_to_such_a_question_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "UPSTREAM_ANSWER_BYTES_MAX", 10)
    async with routed(status(400, RATE), refuse_all) as (_, _, models):
        with pytest.raises(ModelError, match="status 400"):
            await models.ask("/rerank", "m", {})
    async with routed(status(200, b"x" * 11), refuse_all) as (_, _, models):
        with pytest.raises(ModelError, match="more than 10 bytes"):
            await models.ask("/rerank", "m", {})


async def test_the_next_server_is_asked_when_one_refuses_the_connection() -> None:
    async with routed(refuse_all, speak, base_url=closed_port()) as (_, second, models):
        assert said(await read_all(await models.chat(REQUEST))) == "from b"
        assert (await forwarded(models, b'{"model": "m"}'))[0] == 200
        assert asked_for(second) == ["b-model", "b-model"]


async def test_the_next_server_is_asked_when_one_cannot_be_connected_in_time() -> None:
    # A listener that accepts nothing, with its queue full: the next connection waits for ever.
    with socket.socket() as listener, socket.socket() as one, socket.socket() as another:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (one, another):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with routed(refuse_all, speak, base_url=url, connect_seconds=0.05) as (_, _, models):
            assert said(await read_all(await models.chat(REQUEST))) == "from b"


async def test_the_next_server_is_asked_when_one_is_silent_before_its_answer() -> None:
    async with routed(say_nothing, speak, connect_seconds=0.02, silence_seconds=0.03) as (first, _, models):
        assert said(await read_all(await models.chat(REQUEST))) == "from b"
        assert (await forwarded(models, b'{"model": "m"}'))[0] == 200
        for exchange in first.exchanges:
            await exchange.gone()


@pytest.mark.parametrize("code", [400, 401, 404])
async def test_a_refusal_of_the_request_is_final(code: int) -> None:
    async with routed(status(code), refuse_all) as (_, second, models):
        with pytest.raises(ModelError, match=str(code)) as caught:
            await models.chat(REQUEST)
        assert not caught.value.retryable
        if code == 401:
            with pytest.raises(ModelError, match="401"):
                await forwarded(models, b'{"model": "m"}')
        else:
            assert (await forwarded(models, b'{"model": "m"}'))[0] == code
        assert not second.exchanges


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    async def break_off(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("Hel"))
        exchange.reset()

    async with routed(break_off, refuse_all) as (_, second, models):
        stream = await models.chat(REQUEST)
        with pytest.raises(ModelError, match="cut off"):
            await read_all(stream)
        assert not second.exchanges


async def test_silence_within_an_answer_is_not_asked_elsewhere() -> None:
    async def fall_silent(exchange: Exchange) -> None:
        exchange.stream()
        await exchange.gone()

    async with routed(fall_silent, refuse_all, silence_seconds=0.03) as (_, second, models):
        with pytest.raises(ModelError, match="nothing for"):
            await read_all(await models.chat(REQUEST))
        assert not second.exchanges


# --- when all fail


async def test_when_all_fail_it_is_as_the_first_did_after_the_soonest_wait() -> None:
    a, b = status(429, RATE, "Retry-After: 9"), status(503, b"Busy.", "Retry-After: 4")
    async with routed(a, b) as (_, _, models):
        with pytest.raises(ModelError, match="Slow down") as caught:
            await models.chat(REQUEST)
        error = caught.value
        assert (error.code, error.retryable, error.retry_after) == ("rate_limit_exceeded", True, 4.0)
        assert await forwarded(models, b'{"model": "m"}') == (503, b"Busy.")


async def test_when_one_of_all_names_no_wait_neither_does_the_failure() -> None:
    async with routed(status(503, b"", "Retry-After: 9"), hang_up) as (_, _, models):
        with pytest.raises(ModelError) as caught:
            await models.chat(REQUEST)
        assert (caught.value.retryable, caught.value.retry_after) == (True, None)


async def test_a_fallback_that_is_set_up_wrongly_does_not_make_an_outage_final() -> None:
    async with routed(status(503, b"Outage."), status(401)) as (_, _, models):
        with pytest.raises(ModelError, match="Outage") as caught:
            await models.chat(REQUEST)
        assert caught.value.retryable


async def test_the_only_servers_failure_is_untouched() -> None:
    async with routed(status(429, QUOTA, "Retry-After: 3"), refuse_all, Route(model="*", to=(A,))) as (_, _, models):
        with pytest.raises(ModelError, match=r"Spent\.") as caught:
            await models.chat(REQUEST)
        assert (caught.value.retryable, caught.value.retry_after) == (False, 3.0)


# --- names


async def test_a_name_without_a_route_does_not_exist() -> None:
    async with routed(refuse_all, refuse_all, Route(model="gpt-*", to=(A,))) as (_, _, models):
        with pytest.raises(UnknownModel, match=r"^The requested model 'm' does not exist\.$") as caught:
            await models.chat(REQUEST)
        assert not caught.value.retryable
        for body in (b'{"model": "m"}', b"{", b'{"model": 3}', b"{}"):
            with pytest.raises(UnknownModel):
                await forwarded(models, body)
        assert models.context_window("m") == limits.CONTEXT_WINDOW_TOKENS


async def test_the_context_window_is_the_first_servers() -> None:
    async with routed(refuse_all, refuse_all, Route(model="b*", to=(B, A)), *BOTH) as (_, _, models):
        assert (models.context_window("bb"), models.context_window("x")) == (2000, 1000)


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b' { "model" : "fast", "n": 1.0 } ', b'{"model":"x","n":1.0}'),
        (
            b'{"messages": [ {"content": "\\u00e9 \xc3\xa9"} ],\n"big": 123456789012345678901, "model": "fast"}',
            b'{"messages":[ {"content": "\\u00e9 \xc3\xa9"} ],"big":123456789012345678901,"model":"x"}',
        ),
        (b' { "model" : "other" } ', b' { "model" : "other" } '),
        (b"{ no json", b"{ no json"),
        (b'{"n": 1}', b'{"n": 1}'),
        (b'{"model": null}', b'{"model": null}'),
        (b"[" * 5000, b"[" * 5000),
    ],
)
async def test_only_the_model_of_a_passed_through_body_changes(body: bytes, sent: bytes) -> None:
    rows = Route(model="*", to=(A,))
    async with routed(status(200, b"{}"), refuse_all, rows, aliases={"fast": "x"}) as (first, _, models):
        await forwarded(models, body)
        assert first.exchanges[0].body == sent


async def test_a_passed_through_stream_arrives_piece_by_piece() -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(b"data: 1\n\n")
        await go_on.wait()
        exchange.piece(b"data: 2\n\n")
        exchange.finish()

    async with routed(status(503), script) as (_, _, models):
        answer = await models.forward("/chat/completions", b'{"model": "m"}', content_type="application/json")
        pieces = answer.pieces()
        assert await anext(pieces) == b"data: 1\n\n"
        go_on.set()
        assert [piece async for piece in pieces] == [b"data: 2\n\n"]
        await answer.close()


# --- the list


def listing(*names: str) -> Script:
    return status(200, json.dumps({"data": [{"id": name, "owned_by": "them"} for name in names]}).encode())


async def listed(models: RoutedModels) -> list[tuple[str, str]]:
    return [(model.id, model.owned_by) for model in await models.models()]


async def test_models_are_those_of_all_servers_and_the_names_of_routes_each_once() -> None:
    rows = (Route(model="old", to=(B,)), Route(model="g*", to=(A,)), Route(model="g1", to=(A,)))
    aliases = {"fast": "g1", "g2": "old"}
    async with routed(listing("g1", "g2"), listing("g2", "unrouted"), *rows, aliases=aliases) as (_, _, models):
        assert await listed(models) == [("g1", "them"), ("g2", "them"), ("fast", "a"), ("old", "b")]


async def test_a_server_that_is_down_or_silent_does_not_empty_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    async with routed(hang_up, listing("m")) as (_, _, models):
        assert await listed(models) == [("m", "them")]
    monkeypatch.setattr(limits, "UPSTREAM_LIST_SECONDS", 0.03)
    async with routed(say_nothing, listing("m")) as (_, _, models):
        assert await listed(models) == [("m", "them")]


async def test_a_list_without_a_name_is_an_error_only_when_all_servers_failed() -> None:
    async with routed(status(500, b"Words."), hang_up) as (_, _, models):
        with pytest.raises(ModelError, match="Words"):
            await models.models()
    async with routed(hang_up, hang_up, Route(model="old", to=(A,))) as (_, _, models):
        assert await listed(models) == [("old", "a")]
    async with routed(hang_up, listing()) as (_, _, models):
        assert await models.models() == ()
