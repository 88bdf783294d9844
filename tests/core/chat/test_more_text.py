"""The short way of a chunk that is only more text: it comes to the same as the long one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.chat.assemble import Piece, RefusalPiece, TextPiece, Turn, TurnTooLarge, text_alone
from understudy.core.limits import COMPLETION_BYTES_MAX
from understudy.wire.chat import Chunk, ChunkChoice, ChunkDelta, ChunkFunction, ChunkToolCall, ChunkUsage

texts = st.none() | st.text(max_size=3)
calls = st.none() | st.just([ChunkToolCall(index=0, id="c", function=ChunkFunction(name="f", arguments="{}"))])
deltas = st.builds(ChunkDelta, content=texts, refusal=st.none() | texts, tool_calls=st.none() | calls)
choices = st.builds(ChunkChoice, delta=deltas, finish_reason=st.none() | st.sampled_from(["stop", "length"]))
chunks = st.builds(
    Chunk,
    choices=st.lists(choices, max_size=2) | st.builds(lambda one: [one], choices),
    usage=st.none() | st.builds(ChunkUsage, completion_tokens=st.integers(0, 9)),
)


def new_turn() -> Turn:
    return Turn(new_call_id=iter("abcdefgh").__next__)


def said(value: str) -> Chunk:
    return Chunk(choices=[ChunkChoice(delta=ChunkDelta(content=value))])


@given(st.lists(chunks | st.builds(said, st.text(min_size=1, max_size=3)), max_size=12))
def test_any_turn_comes_out_the_same_by_the_short_way(told: list[Chunk]) -> None:
    long, short = new_turn(), new_turn()
    for chunk in told:
        pieces = list(long.feed(chunk))
        text = text_alone(chunk)
        taken = text is not None and short.more_text(text)
        assert ([more(text or "", long)] if taken else list(short.feed(chunk))) == pieces
    assert list(long.finish()) == list(short.finish())
    for field in ("content", "calls", "usage", "usage_reported", "finish_reason", "late_characters", "empty"):
        assert getattr(long, field) == getattr(short, field)


def more(text: str, turn: Turn) -> Piece:
    return TextPiece(text, len(turn.content) - 1, first=False)


def test_only_what_goes_on_with_text_goes_the_short_way() -> None:
    turn = new_turn()
    assert not turn.more_text("One")  # it begins a part, which clients are told
    turn.feed(said("One"))
    assert turn.more_text(" two")
    assert isinstance(turn.feed(Chunk(choices=[ChunkChoice(delta=ChunkDelta(refusal="No"))]))[0], RefusalPiece)
    assert not turn.more_text("One")


@given(chunks)
def test_text_is_alone_where_nothing_else_would_come_of_the_chunk(chunk: Chunk) -> None:
    text = text_alone(chunk)
    if text is not None:
        only = said(text)
        assert list(new_turn().feed(chunk)) == list(new_turn().feed(only))


def test_the_short_way_has_the_same_bound() -> None:
    turn = new_turn()
    turn.feed(said("é" * (COMPLETION_BYTES_MAX // 2)))
    with pytest.raises(TurnTooLarge):
        turn.more_text("é")
    assert turn.content[0].text.value == "é" * (COMPLETION_BYTES_MAX // 2)  # type: ignore[union-attr]
