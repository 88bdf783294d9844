"""Chunks that are taken the moment they arrive, however the bytes that bring them are cut."""

import asyncio
from collections.abc import Sequence

import pytest

from models.serving import DONE, REQUEST, event, said, serving, stop, text
from support.raw_server import LIMIT_SECONDS, Exchange
from understudy.models.http import HttpModels
from understudy.models.stream import HttpChunkStream
from understudy.ports import ModelError
from understudy.wire.chat import Chunk


def framed(*bodies: bytes) -> bytes:
    """Each as a chunk of HTTP's; an empty one is the end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies)


async def begun(exchange: Exchange) -> None:
    exchange.stream()
    exchange.piece(text("a"))


class Taker:
    """Takes the chunks that it is offered, as long as it is `willing`."""

    def __init__(self, *, willing: bool = True) -> None:
        self.willing = willing
        self.text = ""

    def __call__(self, chunks: Sequence[Chunk]) -> bool:
        if self.willing:
            self.text += said(list(chunks))
        return self.willing


async def listening(models: HttpModels, take: Taker) -> tuple[HttpChunkStream, "asyncio.Task[Sequence[Chunk]]"]:
    """A stream whose first chunk was read, and the wait for more."""
    stream = await models.chat(REQUEST)
    assert said(list(await stream.next())) == "a"
    waiting = asyncio.create_task(stream.next(take))
    await asyncio.sleep(0)
    return stream, waiting


def receive(stream: HttpChunkStream, *reads: bytes) -> None:
    """As the event loop hands on what it reads from the socket."""
    for read in reads:
        connection = stream._body._response.connection
        assert connection is not None
        assert connection.transport is not None
        protocol = connection.transport.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(read)


async def rest(stream: HttpChunkStream, waiting: "asyncio.Task[Sequence[Chunk]]") -> str:
    """What was not taken, to the end."""
    chunks: list[Chunk] = []
    async with asyncio.timeout(LIMIT_SECONDS):
        while read := await waiting:
            chunks += read
            waiting = asyncio.create_task(stream.next())
    await stream.close()
    return said(chunks)


TAIL = framed(text("b"), text("c"), b": a comment\n\n", text("d") + text("e"), text("f"), stop() + DONE, b"")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, 100, 101, 300, len(TAIL)])
@pytest.mark.parametrize("willing", [True, False])
async def test_an_answer_is_heard_whole_however_it_is_cut_and_its_connection_used_again(
    size: int, willing: bool
) -> None:
    async with serving(begun) as (server, models):
        for _ in range(2):
            take = Taker(willing=willing)
            stream, waiting = await listening(models, take)
            receive(stream, *[TAIL[at : at + size] for at in range(0, len(TAIL), size)])
            left = await rest(stream, waiting)
            assert take.text + left == "bcdef"
        assert server.connections == 1


async def test_chunks_that_come_one_by_one_are_taken_before_anybody_is_woken() -> None:
    async with serving(begun) as (server, models):
        for _ in range(2):
            take = Taker()
            stream, waiting = await listening(models, take)
            for number, word in enumerate("bcdefgh", 1):
                receive(stream, framed(text(word)))
                assert take.text == "bcdefgh"[:number]
            assert not waiting.done()
            receive(stream, framed(stop(), DONE, b""))
            assert await rest(stream, waiting) == ""
        assert server.connections == 1


async def test_what_is_refused_is_given_and_what_follows_waits_in_order() -> None:
    async with serving(begun) as (_, models):
        take = Taker()
        stream, waiting = await listening(models, take)
        receive(stream, framed(text("b")), framed(text("c")))
        take.willing = False
        receive(stream, framed(text("d")), framed(text("e")), framed(text("f")))
        assert said(list(await waiting)) == "d"
        take.willing = True
        waiting = asyncio.create_task(stream.next(take))
        await asyncio.sleep(0)
        receive(stream, framed(text("g")), framed(stop() + DONE, b""))
        assert await rest(stream, waiting) == ""
        assert take.text == "bcefg"


async def test_a_piece_of_a_chunk_that_looks_like_a_chunk_is_none() -> None:
    """Nothing but the place of bytes tells the frame of a chunk from its content."""
    inner = framed(text("c"))
    outer = framed(b": x\n" + inner + b"\n")
    at = outer.index(inner)
    async with serving(begun) as (server, models):
        for _ in range(2):
            take = Taker()
            stream, waiting = await listening(models, take)
            receive(stream, framed(text("b")), outer[:at], inner, outer[at + len(inner) :], framed(text("d")))
            receive(stream, framed(stop() + DONE, b""))
            left = await rest(stream, waiting)
            assert take.text + left == "bcd"
        assert server.connections == 1


async def test_a_body_with_a_length_is_read_as_it_is_although_it_looks_like_chunks() -> None:
    body = framed(text("b"))

    async def script(exchange: Exchange) -> None:
        exchange.head(200, f"Content-Length: {len(text('a')) + 2 * len(body)}")
        exchange.send(text("a"))

    async with serving(script) as (server, models):
        for _ in range(2):
            take = Taker()
            stream, waiting = await listening(models, take)
            receive(stream, body, body)
            left = await rest(stream, waiting)
            assert take.text + left == "bb"
        assert server.connections == 1


async def test_who_fails_to_take_hears_of_it_and_the_connection_ends() -> None:
    def fail(chunks: Sequence[Chunk]) -> bool:
        raise RuntimeError(said(list(chunks)))

    async with serving(begun) as (server, models):
        stream = await models.chat(REQUEST)
        await stream.next()
        waiting = asyncio.create_task(stream.next(fail))
        await asyncio.sleep(0)
        receive(stream, framed(text("b")))
        with pytest.raises(RuntimeError, match="b"):
            await waiting
        await stream.close()
        await server.exchanges[0].gone()


async def test_a_fault_is_raised_after_what_was_taken_before_it() -> None:
    async with serving(begun) as (server, models):
        take = Taker()
        stream, waiting = await listening(models, take)
        receive(stream, framed(text("b")), framed(text("c") + event({"error": "Words."})))
        with pytest.raises(ModelError, match=r"Words\."):
            await waiting
        assert take.text == "bc"
        await server.exchanges[0].gone()


async def test_more_than_is_held_while_nobody_waits_arrives_whole() -> None:
    """aiohttp stops reading behind 16,384 chunks, and goes on when they are taken out of its hands."""
    count = 40_000

    async def script(exchange: Exchange) -> None:
        await begun(exchange)
        exchange.send(framed(b":\n\n") * count, framed(text("b"), stop() + DONE, b""))

    async with serving(script) as (server, models):
        for _ in range(2):
            take = Taker()
            stream, waiting = await listening(models, take)
            left = await rest(stream, waiting)
            assert take.text + left == "b"
        assert server.connections == 1
