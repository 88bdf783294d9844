"""Answers to `POST /chat/completions` that are what they should be, or nearly; and what becomes of connections."""

import asyncio
import json
import socket
import zlib

import pytest

from models.serving import DONE, REQUEST, event, read_all, said, serving, stop, text
from support.raw_server import LIMIT_SECONDS, Exchange
from understudy.models.http import HttpModels
from understudy.models.upstream import Upstream
from understudy.ports import ModelError
from understudy.wire.chat import ChatFunction, ChatMessage, ChatRequest, ChatTool, Chunk


async def hello(exchange: Exchange) -> None:
    exchange.stream()
    exchange.piece(text("Hel") + text("lo"))
    exchange.piece(stop() + event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}) + DONE)
    exchange.finish()


async def test_the_request_is_posted_as_json_without_what_was_not_given() -> None:
    tool = ChatTool(function=ChatFunction(name="f"))
    request = ChatRequest(model="m", messages=[ChatMessage(role="user", content="Hi")], tools=[tool], max_tokens=5)
    async with serving(hello, headers={"x-own": "1"}) as (server, models):
        await read_all(await models.chat(request))
        (exchange,) = server.exchanges
    assert (exchange.method, exchange.path) == ("POST", "/v1/chat/completions")
    assert exchange.headers["content-type"] == "application/json"
    assert exchange.headers["authorization"] == "Bearer sk-secret"
    assert exchange.headers["accept-encoding"] == "identity"
    assert exchange.headers["x-own"] == "1"
    assert json.loads(exchange.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "max_tokens": 5,
    }


async def test_the_servers_quirks_are_heeded() -> None:
    async with serving(hello, quirks=("no_stream_options",)) as (server, models):
        await read_all(await models.chat(REQUEST))
        assert "stream_options" not in json.loads(server.exchanges[0].body)


async def test_an_unknown_quirk_is_refused_when_the_models_are_made() -> None:
    with pytest.raises(ValueError, match="unknown quirk"):
        HttpModels(Upstream(name="m", base_url="http://host", quirks=("x",)))


async def test_chunks_come_with_their_finish_reason_and_usage() -> None:
    async with serving(hello) as (_, models):
        chunks = await read_all(await models.chat(REQUEST))
    assert said(chunks) == "Hello"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, None, "stop"]
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 2)


async def test_each_read_is_handed_on_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("a") + text("b"))
        await go_on.wait()
        exchange.piece(text("c") + DONE)
        exchange.finish()

    async with serving(script) as (_, models):
        stream = await models.chat(REQUEST)
        assert said(list(await stream.next())) == "ab"
        go_on.set()
        assert said(list(await stream.next())) == "c"
        assert await stream.next() == ()
        await stream.close()


async def test_a_chunk_split_anywhere_even_within_a_character_is_one_chunk() -> None:
    whole = text("\N{SNOWMAN}\N{GRINNING FACE}").replace(b"\\u2603", "\N{SNOWMAN}".encode()) + DONE

    async def script(exchange: Exchange) -> None:
        exchange.stream()
        for at in range(len(whole)):
            exchange.piece(whole[at : at + 1])
            await asyncio.sleep(0)
        exchange.finish()

    async with serving(script) as (_, models):
        assert said(await read_all(await models.chat(REQUEST))) == "\N{SNOWMAN}\N{GRINNING FACE}"


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
async def test_comments_and_other_line_ends_are_read(newline: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream("text/event-stream; charset=utf-8")
        exchange.piece((b": PROCESSING\n\nevent: message\n" + text("ok") + DONE).replace(b"\n", newline))
        exchange.finish()

    async with serving(script) as (_, models):
        assert said(await read_all(await models.chat(REQUEST))) == "ok"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json", "application/x-ndjson"])
async def test_an_event_stream_under_another_content_type_is_read_all_the_same(content_type: str | None) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream(content_type)
        exchange.piece(b"\nda")
        exchange.piece(b"ta: " + text("ok")[6:] + stop() + DONE)
        exchange.finish()

    async with serving(script) as (_, models):
        assert said(await read_all(await models.chat(REQUEST))) == "ok"


async def test_a_compressed_stream_is_decompressed() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.head(200, "Transfer-Encoding: chunked", "Content-Encoding: deflate")
        exchange.piece(zlib.compress(text("ok") + DONE))
        exchange.finish()

    async with serving(script) as (_, models):
        assert said(await read_all(await models.chat(REQUEST))) == "ok"


async def test_the_end_of_the_body_without_done_is_an_end() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.head(200)
        exchange.send(text("all"))
        exchange.close()

    async with serving(script) as (_, models):
        assert said(await read_all(await models.chat(REQUEST))) == "all"


async def test_what_comes_after_done_is_not_read() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("a") + DONE + text("b") + b"data: nonsense\n\n")
        exchange.finish()

    async with serving(script) as (_, models):
        assert said(await read_all(await models.chat(REQUEST))) == "a"


async def test_a_whole_completion_becomes_chunks() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    odd = {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": {"y": 2}}}
    completion = {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None, "tool_calls": [call, odd]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }

    async def script(exchange: Exchange) -> None:
        exchange.answer(200, json.dumps(completion, indent=1).encode())

    async with serving(script) as (_, models):
        content, finish, usage = await read_all(await models.chat(REQUEST))
    delta = content.choices[0].delta
    assert delta.content == "Hi"
    assert delta.refusal is None
    assert delta.tool_calls is not None
    calls = [(call.index, call.id, call.function and call.function.arguments) for call in delta.tool_calls]
    assert calls == [(0, "call_1", '{"x":1}'), (1, "call_2", '{"y":2}')]
    assert finish == Chunk(choices=[type(finish.choices[0])(finish_reason="tool_calls")])
    assert usage.usage is not None
    assert usage.usage.completion_tokens == 2


async def test_a_whole_refusal_becomes_chunks() -> None:
    completion = {"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]}

    async def script(exchange: Exchange) -> None:
        exchange.answer(200, json.dumps(completion).encode(), content_type="text/event-stream")

    async with serving(script) as (_, models):
        content, finish = await read_all(await models.chat(REQUEST))
    assert content.choices[0].delta.refusal == "No."
    assert finish.choices[0].finish_reason == "stop"


# --- connections


async def test_a_connection_is_used_again_after_a_whole_answer() -> None:
    async with serving(hello) as (server, models):
        for _ in range(3):
            await read_all(await models.chat(REQUEST))
        assert server.connections == 1


async def test_a_connection_is_used_again_when_the_body_ends_just_after_done() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("a") + DONE)
        await done_seen.wait()
        exchange.finish()

    async with serving(script) as (server, models):
        for _ in range(2):
            done_seen = asyncio.Event()
            stream = await models.chat(REQUEST)
            assert said(list(await stream.next())) == "a"
            assert await stream.next() == ()
            asyncio.get_running_loop().call_soon(done_seen.set)
            await stream.close()
        assert server.connections == 1


async def test_a_connection_that_goes_on_after_done_is_dropped() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("a") + DONE)
        await exchange.gone()

    async with serving(script) as (server, models):
        await read_all(await models.chat(REQUEST))
        await server.exchanges[0].gone()


async def test_a_connection_is_used_again_after_an_error_answer() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(500, b"{}")

    async with serving(script) as (server, models):
        for _ in range(3):
            with pytest.raises(ModelError):
                await models.chat(REQUEST)
        assert server.connections == 1


async def endless(exchange: Exchange) -> None:
    exchange.stream()
    exchange.piece(text("a"))
    await exchange.gone()


async def test_connections_send_small_writes_at_once() -> None:
    async with serving(endless) as (_, models):
        stream = await models.chat(REQUEST)
        assert models._session is not None
        connector = models._session.connector
        assert connector is not None
        (connection,) = connector._acquired
        assert connection.transport is not None
        assert connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        await stream.close()


async def test_closing_a_stream_that_still_talks_ends_its_connection_at_once() -> None:
    async with serving(endless) as (server, models):
        stream = await models.chat(REQUEST)
        await stream.next()
        await stream.close()
        await server.exchanges[0].gone()
        assert await stream.next() == ()
        await stream.close()


async def test_cancelling_a_reader_ends_the_connection_at_once() -> None:
    async with serving(endless) as (server, models):
        stream = await models.chat(REQUEST)
        await stream.next()
        reader = asyncio.ensure_future(stream.next())
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await server.exchanges[0].gone()


async def test_closing_a_stream_ends_a_wait_in_next() -> None:
    async with serving(endless) as (server, models):
        stream = await models.chat(REQUEST)
        await stream.next()
        reader = asyncio.ensure_future(stream.next())
        await asyncio.sleep(0)
        await stream.close()
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await reader == ()
        await server.exchanges[0].gone()


async def test_cancelling_a_request_that_has_no_answer_yet_ends_its_connection() -> None:
    arrived = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        arrived.set()
        await exchange.gone()

    async with serving(script) as (server, models):
        asked = asyncio.ensure_future(models.chat(REQUEST))
        async with asyncio.timeout(LIMIT_SECONDS):
            await arrived.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await server.exchanges[0].gone()


async def test_closing_the_models_ends_streams_and_refuses_requests() -> None:
    async with serving(endless) as (server, models):
        stream = await models.chat(REQUEST)
        await stream.next()
        await models.close()
        await server.exchanges[0].gone()
        with pytest.raises(ModelError, match="cut off"):
            await stream.next()
        with pytest.raises(ModelError, match="shutting down"):
            await models.chat(REQUEST)
