"""A turn whose text has citations: what its clients add up from the deltas is what is stored."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.sdk import accumulated, without_index
from understudy.core.chat.assemble import CallStarted, Piece, TextPiece, Turn
from understudy.core.chat.citations import Citable
from understudy.core.chat.deltas import message_delta
from understudy.core.run.state import Note, Source
from understudy.wire.chat import Chunk, ChunkChoice, ChunkDelta, ChunkFunction, ChunkToolCall
from understudy.wire.messages import FileCitation, TextPart

SOURCE = Source(file_id="file-A", file_name="a.txt", start=0, end=1)
CITABLE = Citable([Note(arguments="{}", output="A", sources=[SOURCE, SOURCE])])
WRITING = st.sampled_from(
    ["【", "】", "[", "]", "0", ":", "1", "†source", " ", "x", "\U0001f600", "【0:1†source】", "[0]"]
)


def new_turn() -> Turn:
    return Turn(new_call_id=lambda: "call_new", citable=CITABLE)


def chunk(text: str | None = None, *, refusal: str | None = None, call: str | None = None) -> Chunk:
    calls = [ChunkToolCall(index=0, id="call_a", function=ChunkFunction(name=call, arguments="{}"))] if call else None
    return Chunk(choices=[ChunkChoice(delta=ChunkDelta(content=text, refusal=refusal, tool_calls=calls))])


@given(st.lists(WRITING, max_size=30).map("".join), st.lists(st.integers(min_value=0, max_value=120), max_size=10))
def test_what_clients_add_up_is_at_every_moment_what_is_stored(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    turn, told = new_turn(), []
    for one in [*(chunk(text[start:end]) for start, end in pairwise(places)), None]:
        pieces = turn.feed(one) if one else turn.finish()
        told += [msgspec.to_builtins(message_delta("msg_1", piece))["delta"] for piece in pieces]  # type: ignore[arg-type]
        assert added_up(told) == msgspec.to_builtins(list(turn.content))
    for part in turn.content:
        assert isinstance(part, TextPart)
        for annotation in part.text.annotations:
            assert isinstance(annotation, FileCitation)
            assert part.text.value[annotation.start_index : annotation.end_index] == annotation.text


def added_up(deltas: list[dict[str, object]]) -> list[dict[str, object]]:
    parts = without_index(accumulated(deltas).get("content", []))
    return [{**part, "text": without_places(part["text"])} for part in parts]


def without_places(text: object) -> dict[str, object]:
    assert isinstance(text, dict)
    return {**text, "annotations": without_index(text["annotations"])}


def test_what_was_held_back_is_shown_before_a_call_and_before_a_refusal() -> None:
    turn = new_turn()
    assert turn.feed(chunk("So【0:1†sou")) == [TextPiece("So", 0, True)]
    shown: list[Piece] = [*turn.feed(chunk(call="weather"))]
    assert isinstance(shown[0], TextPiece)
    assert (shown[0].value, len(shown[0].annotations)) == ("【0:1†source】", 1)
    assert isinstance(shown[1], CallStarted)
    turn = new_turn()
    turn.feed(chunk("[0"))
    assert [type(piece).__name__ for piece in turn.feed(chunk(refusal="No."))] == ["TextPiece", "RefusalPiece"]


def test_a_text_of_nothing_but_a_marker_that_points_nowhere_is_no_part() -> None:
    turn = new_turn()
    assert [*turn.feed(chunk("【7:7†source】")), *turn.finish()] == []
    assert turn.empty
    assert turn.content == ()
