"""What is known by its bytes is what decoding it would have told."""

import asyncio
import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.serving import DONE, REQUEST, event, said, serving, stop, text
from models.test_tap import begun, framed, receive, rest
from support.raw_server import LIMIT_SECONDS
from understudy.core.chat.assemble import text_alone
from understudy.core.limits import ALIKE_MISSES_MAX
from understudy.models.alike import Alike
from understudy.models.sse import SseParser
from understudy.ports import ModelError
from understudy.wire.chat import Chunk

words = st.sampled_from(["a", " token", "content", 'say "no"', "back\\slash", "a\nb", "\x00", "é", "🦉", "?"])
fields = st.fixed_dictionaries(
    {},
    optional={
        "id": words,
        "usage": st.none() | st.just({"completion_tokens": 3}),
        "error": st.none() | words,
        "object": st.just("chat.completion.chunk"),
    },
)
deltas = st.fixed_dictionaries(
    {}, optional={"role": words, "content": words, "refusal": st.none() | words, "reasoning": words}
)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    tree = draw(fields)
    finish = draw(st.sampled_from([None, None, None, "stop"]))
    choice = {"index": 0, "delta": draw(deltas), "finish_reason": finish}
    tree |= {"choices": [choice] * draw(st.sampled_from([1, 1, 1, 0, 2]))}
    written = draw(st.sampled_from([json.dumps(tree), json.dumps(tree, ensure_ascii=False)])).encode()
    return draw(st.sampled_from([b"data: %b\n\n", b"data:%b\n\n", b"event: x\ndata: %b\n\n"])) % written


def decoded(read: bytes) -> Chunk:
    (payload,) = SseParser().feed(read)
    return msgspec.json.decode(payload, type=Chunk)


@given(st.lists(events(), min_size=2, max_size=8))
def test_a_text_that_is_known_is_the_whole_of_its_chunk(reads: list[bytes]) -> None:
    alike = Alike()
    for read in reads:
        known, chunk = alike.text_in(read), decoded(read)
        assert known is None or known == text_alone(chunk)
        alike.learn(read, chunk)


@given(events(), st.binary(max_size=12))
def test_whatever_bytes_stand_where_the_text_was(read: bytes, other: bytes) -> None:
    alike, chunk = Alike(), decoded(read)
    alike.learn(read, chunk)
    written = json.dumps(text_alone(chunk), ensure_ascii=False).encode()
    if text_alone(chunk) is None or written not in read:
        return
    told = read.replace(written, b'"' + other + b'"', 1)
    known = alike.text_in(told)
    assert known is None or known == text_alone(decoded(told))


def test_the_next_token_is_known_and_what_must_be_decoded_is_not() -> None:
    alike = Alike()
    assert alike.text_in(text("a")) is None
    alike.learn(text("a"), decoded(text("a")))
    assert [alike.text_in(text(word)) for word in (" token", "!", "assistant")] == [" token", "!", "assistant"]
    for unlike in (text("a\n"), text('"'), text("\\"), text(""), text("a") + text("b"), text("a")[:-1], stop(), b""):
        assert alike.text_in(unlike) is None
    for broken in (b"\x07", b"\xff", b'a","x":"b', b"a\nb", b"a\r"):
        assert alike.text_in(text("@").replace(b"@", broken)) is None
    alike.forget()
    assert alike.text_in(text("b")) is None


def test_what_stands_elsewhere_too_is_not_mistaken_for_the_text() -> None:
    """The same word before the text, and a name that is given twice, of which the last one counts."""
    for read in (
        b'data: {"id": "a", "choices": [{"delta": {"content": "a"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "a", "content": "a"}}]}\n\n',
        b'data: {"choices": [{"delta": {"a": 1, "content": "a"}}]}\n\n',
    ):
        alike = Alike()
        alike.learn(read, decoded(read))
        assert alike.text_in(read) is None


def test_a_server_whose_events_are_never_alike_is_given_up() -> None:
    def numbered(number: int) -> bytes:
        return event({"id": number, "choices": [{"delta": {"content": " x"}}]})

    given_up, patient = Alike(), Alike()
    for number in range(2 * ALIKE_MISSES_MAX):
        given_up.learn(numbered(number), decoded(numbered(number)))
        patient.learn(numbered(number), decoded(numbered(number)))
        assert patient.text_in(numbered(number)) == " x"
    assert given_up.text_in(numbered(2 * ALIKE_MISSES_MAX - 1)) is None


class Takers:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.chunks: list[str] = []

    def take(self, chunks: Sequence[Chunk]) -> bool:
        self.chunks.append(said(list(chunks)))
        return True

    def take_text(self, text: str) -> bool:
        self.texts.append(text)
        return True


async def test_a_stream_offers_the_text_of_alike_events_and_the_chunks_of_all_others() -> None:
    async with serving(begun) as (_, models):
        stream = await models.chat(REQUEST)
        assert said(list(await stream.next())) == "a"
        takers = Takers()
        waiting = asyncio.create_task(stream.next(takers.take, takers.take_text))
        await asyncio.sleep(0)
        half = text("e")
        receive(stream, *(framed(text(word)) for word in ("b", "c", "\n", "d")))
        receive(stream, framed(half[:9]), framed(half[9:]), framed(text("f")), framed(text("g")))
        receive(stream, framed(stop() + DONE, b""))
        assert await rest(stream, waiting) == ""
        assert takers.texts == ["b", "c", "d", "g"]
        assert takers.chunks == ["\n", "e", "f", ""]


@pytest.mark.parametrize("broken", [b"\x01", b"\xc3"])
async def test_an_event_that_only_looks_alike_fails_as_ever(broken: bytes) -> None:
    async with serving(begun) as (_, models):
        stream = await models.chat(REQUEST)
        await stream.next()
        takers = Takers()
        waiting = asyncio.create_task(stream.next(takers.take, takers.take_text))
        await asyncio.sleep(0)
        receive(stream, framed(text("b")), framed(text("@").replace(b"@", broken)))
        with pytest.raises(ModelError):
            async with asyncio.timeout(LIMIT_SECONDS):
                await waiting
        assert takers.texts == ["b"]
