"""Every way in which a model server fails, over real connections."""

import asyncio
import socket
from typing import cast

import pytest

from models.serving import REQUEST, event, read_all, said, serving, text
from support.raw_server import LIMIT_SECONDS, Exchange, Script
from understudy.core import limits
from understudy.models.http import HttpModels
from understudy.models.upstream import Upstream
from understudy.ports import ChunkStream, ModelError
from understudy.wire.chat import Chunk


async def failure(script: Script, **settings: object) -> ModelError:
    """Of the request, or of reading its answer."""
    async with serving(script, **settings) as (_, models):
        with pytest.raises(ModelError) as caught:
            await read_all(await models.chat(REQUEST))
    assert "sk-secret" not in caught.value.message
    assert "127.0.0.1" not in caught.value.message
    return caught.value


async def extend(chunks: list[Chunk], stream: ChunkStream) -> None:
    while read := await stream.next():
        chunks += read


async def failure_after_text(script: Script, **settings: object) -> tuple[str, ModelError]:
    """What was said before the failure, and the failure; the connection is gone before the stream is closed."""
    chunks: list[Chunk] = []
    async with serving(script, **settings) as (server, models), asyncio.timeout(LIMIT_SECONDS):
        stream = await models.chat(REQUEST)
        with pytest.raises(ModelError) as caught:
            await extend(chunks, stream)
        assert not caught.value.retryable
        assert caught.value.code == "server_error"
        await server.exchanges[0].gone()
        assert await stream.next() == ()
        await stream.close()
        assert server.connections == 1
    return said(chunks), caught.value


# --- no answer


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


async def no_answer(base_url: str, **settings: float) -> ModelError:
    models = HttpModels(Upstream(name="m", base_url=base_url, **settings))  # type: ignore[arg-type]
    try:
        with pytest.raises(ModelError) as caught:
            await models.chat(REQUEST)
        with pytest.raises(ModelError):
            await models.models()
        with pytest.raises(ModelError):
            await models.forward("/embeddings", b"{}", content_type="application/json")
    finally:
        await models.close()
    return caught.value


async def test_a_refused_connection_is_retryable_and_names_no_host() -> None:
    error = await no_answer(f"http://127.0.0.1:{free_port()}/v1")
    assert error.message == "The model server cannot be reached: connection refused."
    assert (error.code, error.retryable) == ("server_error", True)


async def test_an_unknown_host_is_retryable() -> None:
    error = await no_answer("http://nobody.invalid/v1")
    assert error.message == "The model server cannot be reached: its host name could not be resolved."
    assert error.retryable


class SpeaksNoTls(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        plain.write(b"HTTP/1.1 400 No\r\n\r\n")
        plain.close()


async def test_a_server_without_tls_where_tls_is_asked_for_is_retryable() -> None:
    async with await asyncio.get_running_loop().create_server(SpeaksNoTls, "127.0.0.1", 0) as server:
        error = await no_answer(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    assert error.message == "The model server cannot be reached: TLS failed."
    assert error.retryable


async def test_no_connection_in_time_is_retryable() -> None:
    with socket.socket() as listener:  # whose backlog is full: connecting hangs
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(address)
            error = await no_answer(f"http://127.0.0.1:{address[1]}/v1", connect_seconds=0.1)
    assert error.message == "The model server cannot be reached: no connection within 0.1 seconds."
    assert error.retryable


async def test_a_connection_closed_without_an_answer_is_retryable() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.close()

    error = await failure(script)
    assert error.message == "The model server closed the connection without an answer."
    assert error.retryable


async def test_a_connection_reset_without_an_answer_is_retryable() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.reset()

    assert (await failure(script)).retryable


async def test_an_answer_that_is_not_http_is_a_server_error() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    error = await failure(script)
    assert error.message == "The model server's answer is not HTTP."
    assert not error.retryable


async def test_silence_before_the_answer_is_an_error_that_is_not_tried_again() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.gone()

    error = await failure(script, connect_seconds=0.05, silence_seconds=0.05)
    assert error.message == "The model server sent nothing for 0.05 seconds."
    assert not error.retryable


# --- an answer that is an error


@pytest.mark.parametrize(
    ("status", "code", "retryable", "message"),
    [
        (429, "rate_limit_exceeded", True, "The model server answered with status 429: Words."),
        (500, "server_error", True, "The model server answered with status 500: Words."),
        (503, "server_error", True, "The model server answered with status 503: Words."),
        (401, "server_error", False, "The model server refused the configured API key (status 401)."),
        (403, "server_error", False, "The model server refused the configured API key (status 403)."),
        (404, "server_error", False, "The model server answered with status 404: Words."),
        (400, "server_error", False, "The model server answered with status 400: Words."),
        (422, "server_error", False, "The model server answered with status 422: Words."),
    ],
)
async def test_an_error_status_becomes_the_runs_error(status: int, code: str, retryable: bool, message: str) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(status, b'{"error": {"message": "Words."}}', "Retry-After: 7")

    error = await failure(script)
    assert (error.code, error.retryable, error.message) == (code, retryable, message)
    assert error.retry_after == (7.0 if retryable else error.retry_after)


async def test_a_refusal_of_the_prompts_content_is_an_invalid_prompt() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(400, b'{"error": {"message": "Filtered.", "code": "content_filter"}}')

    error = await failure(script)
    assert (error.code, error.message) == ("invalid_prompt", "The model server answered with status 400: Filtered.")


async def test_a_key_in_the_servers_words_is_hidden() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(400, b"bad: " + exchange.headers["authorization"].encode(), content_type="text/plain")

    assert (await failure(script)).message == "The model server answered with status 400: bad: Bearer ***"


async def test_a_redirect_is_not_followed() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(307, b"", "Location: /elsewhere")

    assert "status 307, a redirect" in (await failure(script)).message


async def test_an_error_page_without_end_is_cut_off() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream("text/plain")
        while not exchange.is_set():
            exchange.piece(b"x" * 32_768)
            await asyncio.sleep(0)

    message = (await failure(script)).message
    assert len(message) < limits.UPSTREAM_ERROR_WORDS_MAX + 100


async def test_an_error_whose_words_never_end_is_told_without_waiting_for_silence() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.head(503, "Content-Length: 100")
        exchange.send(b"half")
        await exchange.gone()

    error = await failure(script, connect_seconds=0.1)
    assert error.message == "The model server answered with status 503: half"


async def test_an_error_whose_words_are_cut_is_told_by_its_status() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.head(503, "Content-Length: 100")
        exchange.close()

    error = await failure(script)
    assert error.message == "The model server answered with status 503."
    assert error.retryable


# --- a 2xx answer that is no event stream


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>Welcome</html>", "text/html"),
        (b"Service is up", "text/plain"),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"{}", "application/json"),
        (b'{"choices": []}', "application/json"),
        (b'{"choices": [{"text": "legacy"}]}', "application/json"),
        (b"[1]", "application/json"),
        (b"\xff\xfe\x00garbage", "application/octet-stream"),
    ],
)
async def test_an_answer_of_another_form_is_a_server_error(body: bytes, content_type: str) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(200, body, content_type=content_type)

    error = await failure(script)
    assert error.message == f"The model server's answer has an unexpected form ({content_type})."
    assert (error.code, error.retryable) == ("server_error", False)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_an_error_with_status_200_is_an_error(content_type: str) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.answer(200, b'{"error": {"message": "Words.", "code": 429}}', content_type=content_type)

    error = await failure(script)
    assert (error.code, error.message) == ("rate_limit_exceeded", "The model server reported an error: Words.")
    assert not error.retryable


async def test_a_completion_without_end_is_cut_off() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream("application/json")
        exchange.piece(b"{")
        while not exchange.is_set():
            exchange.piece(b" " * 1_000_000)
            await asyncio.sleep(0)

    assert f"more than {limits.COMPLETION_BYTES_MAX} bytes" in (await failure(script)).message


# --- in the middle of the stream


async def after(exchange: Exchange, rest: bytes) -> None:
    exchange.stream()
    exchange.piece(text("a") + text("b") + rest)
    await exchange.gone()


@pytest.mark.parametrize(
    "payload",
    [b"nonsense", b'{"choices": [', b'{"choices": 7}', b"[]", b"", b"\xff", b'{"x":' + b"[" * 5000],
    ids=["words", "half", "type", "list", "empty", "bytes", "deep"],
)
async def test_a_payload_that_is_no_chunk_ends_the_stream_after_the_chunks_before_it(payload: bytes) -> None:
    before, error = await failure_after_text(lambda exchange: after(exchange, b"data: " + payload + b"\n\n"))
    assert before == "ab"
    assert error.message == "The model server sent something that is no chat completion chunk."


@pytest.mark.parametrize(
    "tree", [{"error": {"message": "Words."}}, {"error": "Words."}, {"error": {"message": ["Words."], "code": 1.5}}]
)
async def test_an_error_chunk_ends_the_stream_with_the_servers_words(tree: object) -> None:
    before, error = await failure_after_text(lambda exchange: after(exchange, event(tree)))
    assert before == "ab"
    assert error.message == "The model server reported an error: Words."


async def test_a_line_that_is_too_long_ends_the_stream() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("a"))
        exchange.piece(b"data: ")
        while not exchange.is_set():
            exchange.piece(b"x" * 100_000)
            await asyncio.sleep(0)

    _, error = await failure_after_text(script)
    assert f"more than {limits.UPSTREAM_LINE_BYTES_MAX} bytes" in error.message


async def cut(how: str, headers: tuple[str, ...]) -> tuple[str, ModelError]:
    seen = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.head(200, *headers)
        body = text("a")
        exchange.send(b"%x\r\n%s\r\n" % (len(body), body) if "chunked" in headers[0] else body)
        await seen.wait()
        match how:
            case "close":
                exchange.close()
            case "reset":
                exchange.reset()
            case _:
                exchange.send(b"this is no chunk\r\n")

    async with serving(script) as (_, models), asyncio.timeout(LIMIT_SECONDS):
        stream = await models.chat(REQUEST)
        before = said(list(await stream.next()))
        seen.set()
        with pytest.raises(ModelError) as caught:
            await stream.next()
        assert await stream.next() == ()
        await stream.close()
    return before, caught.value


@pytest.mark.parametrize("how", ["close", "reset", "garbage"])
async def test_a_stream_that_is_cut_off_is_an_error(how: str) -> None:
    before, error = await cut(how, ("Transfer-Encoding: chunked",))
    assert before == "a"
    assert error.message == "The model server's answer was cut off."
    assert (error.code, error.retryable) == ("server_error", False)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_body_shorter_than_its_content_length_is_an_error(how: str) -> None:
    _, error = await cut(how, ("Content-Length: 1000000",))
    assert error.message == "The model server's answer was cut off."


async def test_silence_in_the_middle_is_an_error_and_ends_the_connection() -> None:
    before, error = await failure_after_text(lambda exchange: after(exchange, b""), silence_seconds=0.1)
    assert before == "ab"
    assert error.message == "The model server sent nothing for 0.1 seconds."


async def test_a_server_that_only_sends_comments_is_not_silent_and_a_slow_reader_is_no_silent_server() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def script(exchange: Exchange) -> None:
        exchange.stream()
        exchange.piece(text("a"))
        while loop.time() < begun + 0.6:
            exchange.piece(b": still there\n\n")
            await asyncio.sleep(0.02)
        exchange.piece(text("b"))
        exchange.finish()

    async with serving(script, silence_seconds=0.25) as (_, models):
        stream = await models.chat(REQUEST)
        first = list(await stream.next())
        await asyncio.sleep(0.3)  # the reader's own pause, longer than the silence that a server is allowed
        assert said(first + await read_all(stream)) == "ab"


async def test_nothing_is_left_running_after_a_failure() -> None:
    tasks = asyncio.all_tasks()
    await failure_after_text(lambda exchange: after(exchange, b"data: nonsense\n\n"))
    assert asyncio.all_tasks() == tasks
