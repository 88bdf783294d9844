import itertools
import json
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.sdk import accumulated, without_index
from understudy.core.chat.assemble import (
    CallArguments,
    CallStarted,
    Piece,
    RefusalPiece,
    TextPiece,
    Turn,
    TurnTooLarge,
)
from understudy.core.chat.deltas import message_delta, step_delta
from understudy.core.chat.step_calls import StepCalls
from understudy.core.limits import CALLS_PER_TURN_MAX, COMPLETION_BYTES_MAX
from understudy.core.run.state import RunSettings
from understudy.wire.chat import Chunk, ChunkChoice, ChunkDelta, ChunkFunction, ChunkToolCall, ChunkUsage
from understudy.wire.messages import RefusalPart, TextPart, TextValue
from understudy.wire.runs import Usage

CALLS = StepCalls(RunSettings(model="gpt-4o", instructions="", tools=[]), ())


def new_turn(*, one_call: bool = False) -> Turn:
    numbers = itertools.count()
    return Turn(new_call_id=lambda: f"call_new{next(numbers)}", one_call=one_call)


def part(
    index: int | None = None, id_: str | None = None, name: str | None = None, arguments: str | None = None
) -> ChunkToolCall:
    return ChunkToolCall(index=index, id=id_, function=ChunkFunction(name=name, arguments=arguments))


def chunk(
    text: str | None = None,
    *calls: ChunkToolCall,
    refusal: str | None = None,
    finish: str | None = None,
    usage: ChunkUsage | None = None,
) -> Chunk:
    delta = ChunkDelta(content=text, refusal=refusal, tool_calls=list(calls) or None)
    return Chunk(choices=[ChunkChoice(delta=delta, finish_reason=finish)], usage=usage)


def fed(turn: Turn, *chunks: Chunk) -> list[Piece]:
    return [piece for one in chunks for piece in turn.feed(one)]


def calls_of(turn: Turn) -> list[tuple[str, str, str]]:
    return [(call.id, call.function.name, call.function.arguments) for call in turn.calls]


def read_by_a_client(pieces: Iterable[Piece]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Content and calls as an SDK has them after the deltas of these pieces."""
    messages, steps = [], []
    for piece in pieces:
        match piece:
            case TextPiece() | RefusalPiece():
                messages.append(msgspec.to_builtins(message_delta("msg_1", piece))["delta"])
            case CallStarted() | CallArguments():
                delta = step_delta("step_1", *CALLS.deltas(piece))
                steps.append(msgspec.to_builtins(delta)["delta"]["step_details"])
    return (
        without_index(accumulated(messages).get("content", [])),
        without_index(accumulated(steps).get("tool_calls", [])),
    )


# --- text


def test_text_grows_in_one_part_and_only_its_first_piece_is_first() -> None:
    turn = new_turn()
    pieces = fed(turn, chunk("Fo"), chunk("ur"), chunk(finish="stop"))
    assert pieces == [TextPiece("Fo", 0, True), TextPiece("ur", 0, False)]
    assert turn.content == (TextPart(text=TextValue(value="Four")),)


def test_a_refusal_after_text_is_the_next_part() -> None:
    turn = new_turn()
    pieces = fed(turn, chunk("Well"), chunk(refusal="I "), chunk(refusal="cannot"))
    assert pieces == [TextPiece("Well", 0, True), RefusalPiece("I ", 1, True), RefusalPiece("cannot", 1, False)]
    assert turn.content == (TextPart(text=TextValue(value="Well")), RefusalPart(refusal="I cannot"))


def test_empty_strings_make_no_piece() -> None:
    turn = new_turn()
    assert fed(turn, chunk(""), chunk(refusal=""), Chunk(), chunk(finish="stop")) == []
    assert turn.finish() == []
    assert turn.empty
    assert turn.content == ()


def test_text_after_the_first_sign_of_a_call_is_left_out_and_counted() -> None:
    turn = new_turn()
    pieces = fed(turn, chunk("Hm"), chunk("\n", part(0, "a", "f", "{}")), chunk(" so\n"), chunk(refusal="no"))
    assert [piece for piece in pieces if isinstance(piece, TextPiece | RefusalPiece)] == [
        TextPiece("Hm", 0, True),
        TextPiece("\n", 0, False),
    ]
    assert turn.late_characters == 4


# --- calls of one kind of server each


def test_a_call_is_started_once_with_its_whole_name() -> None:
    turn = new_turn()
    pieces = fed(
        turn,
        chunk(None, part(0, "a", "get_")),
        chunk(None, part(0, None, "price")),
        chunk(None, part(0, None, None, '{"x"')),
        chunk(None, part(0, None, None, ":1}")),
    )
    assert pieces == [CallStarted(0, "a", "get_price"), CallArguments(0, '{"x"'), CallArguments(0, ":1}")]


def test_name_and_arguments_may_come_in_one_chunk() -> None:
    turn = new_turn()
    assert fed(turn, chunk(None, part(0, "a", "f", "{}"))) == [CallStarted(0, "a", "f"), CallArguments(0, "{}")]


def test_a_call_without_arguments_is_started_at_the_end() -> None:
    turn = new_turn()
    assert fed(turn, chunk(None, part(0, "a", "f", ""), finish="tool_calls")) == []
    assert turn.empty
    assert turn.finish() == [CallStarted(0, "a", "f")]
    assert calls_of(turn) == [("a", "f", "")]


def test_id_and_name_repeated_in_every_chunk_belong_to_one_call() -> None:
    turn = new_turn()
    fed(
        turn, *(chunk(None, part(0, "a", "f", piece)) for piece in ('{"x"', ":{}", "}")), chunk(None, part(0, "a", "f"))
    )
    turn.finish()
    assert calls_of(turn) == [("a", "f", '{"x":{}}')]


def test_an_id_that_comes_late_is_still_used() -> None:
    turn = new_turn()
    fed(turn, chunk(None, part(0, None, "f")), chunk(None, part(0, "a", None, "{}")))
    assert calls_of(turn) == [("a", "f", "{}")]


def test_arguments_wait_for_a_name_that_comes_late() -> None:
    turn = new_turn()
    assert fed(turn, chunk(None, part(0, "a", None, "{"))) == []
    assert fed(turn, chunk(None, part(0, None, "f"))) == [CallStarted(0, "a", "f"), CallArguments(0, "{")]


def test_missing_ids_are_made_up() -> None:
    turn = new_turn()
    fed(turn, chunk(None, part(0, "", "f", "{}"), part(1, None, "g", "{}")))
    turn.finish()
    assert calls_of(turn) == [("call_new0", "f", "{}"), ("call_new1", "g", "{}")]


def test_two_calls_under_one_id_get_two_ids() -> None:
    turn = new_turn()
    fed(turn, chunk(None, part(0, "call_0", "f", "{}"), part(1, "call_0", "f", '{"x":1}')))
    turn.finish()
    assert calls_of(turn) == [("call_0", "f", "{}"), ("call_new0", "f", '{"x":1}')]


def test_without_index_a_new_id_begins_a_call_and_the_rest_goes_on_with_the_last() -> None:
    turn = new_turn()
    fed(
        turn,
        chunk(None, part(None, "a", "f", "{")),
        chunk(None, part(None, None, None, "}")),
        chunk(None, part(None, "b", "f", '{"y"')),
        chunk(None, part(None, "b", None, ":2}")),
    )
    turn.finish()
    assert calls_of(turn) == [("a", "f", "{}"), ("b", "f", '{"y":2}')]


def test_without_index_and_id_a_name_begins_a_call() -> None:
    turn = new_turn()
    fed(turn, chunk(None, part(name="f", arguments="{}")), chunk(None, part(name="f", arguments='{"x":1}')))
    turn.finish()
    assert calls_of(turn) == [("call_new0", "f", "{}"), ("call_new1", "f", '{"x":1}')]


def test_another_id_at_the_same_index_begins_a_call() -> None:
    turn = new_turn()
    fed(
        turn,
        chunk(None, part(0, "a", "f", "{}")),
        chunk(None, part(0, "b", "g", "{")),
        chunk(None, part(0, None, None, "}")),
    )
    turn.finish()
    assert calls_of(turn) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_a_fresh_id_in_every_chunk_does_not_cut_a_call_into_pieces() -> None:
    turn = new_turn()
    fed(turn, *(chunk(None, part(0, f"id{n}", name, args)) for n, (name, args) in enumerate([("f", "{"), ("", "}")])))
    fed(turn, chunk(None, part(0, "id3", None, "")), chunk(None, part(0, "id4", "g", "{}")))
    turn.finish()
    assert calls_of(turn) == [("id0", "f", "{}"), ("id4", "g", "{}")]


@pytest.mark.parametrize("names", [("f", "g"), ("f", "f")])
def test_whole_calls_without_ids_at_index_zero_are_told_apart(names: tuple[str, str]) -> None:
    turn = new_turn()
    fed(turn, chunk(None, *(part(0, "", name, '{"x":1}') for name in names)))
    turn.finish()
    assert calls_of(turn) == [(f"call_new{place}", name, '{"x":1}') for place, name in enumerate(names)]


def test_a_call_that_never_gets_a_name_is_left_out_and_leaves_no_gap() -> None:
    turn = new_turn()
    pieces = fed(turn, chunk(None, part(0, "a", None, "{}")), chunk(None, part(1, "b", "g", "{}")))
    assert [*pieces, *turn.finish()] == [CallStarted(0, "b", "g"), CallArguments(0, "{}")]


def test_a_chunk_without_a_function_is_no_call_yet() -> None:
    turn = new_turn()
    fed(turn, chunk(None, ChunkToolCall(index=0, id="a")), chunk(None, part(0, None, "f", "{}")))
    assert calls_of(turn) == [("a", "f", "{}")]


# --- order


def test_pieces_of_a_later_call_wait_until_the_earlier_one_is_whole() -> None:
    turn = new_turn()
    assert fed(turn, chunk(None, part(0, "a", "f", '{"x":')), chunk(None, part(1, "b", "g", '{"y"'))) == [
        CallStarted(0, "a", "f"),
        CallArguments(0, '{"x":'),
    ]
    assert fed(turn, chunk(None, part(0, None, None, "1}"))) == [
        CallArguments(0, "1}"),
        CallStarted(1, "b", "g"),
        CallArguments(1, '{"y"'),
    ]
    assert fed(turn, chunk(None, part(1, None, None, ":2}"))) == [CallArguments(1, ":2}")]
    assert turn.finish() == []


def test_arguments_that_never_become_whole_hold_later_calls_until_the_end() -> None:
    turn = new_turn()
    fed(turn, chunk(None, part(0, "a", "f", '{"x"')), chunk(None, part(1, "b", "g", "{}")))
    assert calls_of(turn) == [("a", "f", '{"x"')]
    assert turn.finish() == [CallStarted(1, "b", "g"), CallArguments(1, "{}")]
    assert turn.finish() == []


def test_what_follows_whole_arguments_after_the_next_call_began_is_left_out() -> None:
    turn = new_turn()
    fed(turn, chunk(None, part(0, "a", "f", "{}"), part(1, "b", "g", "{")))
    assert fed(turn, chunk(None, part(0, None, None, "\n{}"), part(1, None, None, "}"))) == [CallArguments(1, "}")]
    assert turn.finish() == []
    assert calls_of(turn) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_with_one_call_all_but_the_first_are_left_out() -> None:
    turn = new_turn(one_call=True)
    pieces = fed(
        turn,
        chunk(None, part(0, "a", "f", "{")),
        chunk(None, part(1, "b", "g", "{}")),
        chunk(None, part(0, None, None, "}")),
        chunk(None, part(name="h", arguments="{")),
        chunk(None, part(arguments="}")),
    )
    assert [*pieces, *turn.finish()] == [CallStarted(0, "a", "f"), CallArguments(0, "{"), CallArguments(0, "}")]
    assert calls_of(turn) == [("a", "f", "{}")]


# --- the end


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("stop", "stopped"),
        ("tool_calls", "stopped"),
        ("function_call", "stopped"),
        ("eos_token", "stopped"),
        ("length", "truncated"),
        ("model_length", "truncated"),
        ("content_filter", "filtered"),
        ("error", "no_finish"),
        ("", "no_finish"),
        (None, "no_finish"),
    ],
)
def test_the_finish_reason_tells_how_a_turn_ended(word: str | None, verdict: str) -> None:
    turn = new_turn()
    fed(turn, chunk("x", finish=word))
    assert turn.verdict() == verdict


def test_the_last_usage_counts_wherever_it_stands() -> None:
    turn = new_turn()
    assert turn.usage == Usage()
    assert not turn.usage_reported
    fed(turn, chunk("x", usage=ChunkUsage(9, 1)), chunk("y", finish="stop"), Chunk(usage=ChunkUsage(9, 2)))
    assert turn.usage == Usage(prompt_tokens=9, completion_tokens=2, total_tokens=11)
    assert turn.usage_reported
    assert turn.verdict() == "stopped"


def test_an_answer_that_is_too_long_is_refused_and_what_came_before_is_kept() -> None:
    turn = new_turn()
    half = "é" * (COMPLETION_BYTES_MAX // 4 - 1)
    fed(turn, chunk(half), chunk(None, part(0, "a", "f", half)))
    with pytest.raises(TurnTooLarge):
        turn.feed(chunk(None, part(0, None, None, "xxxx")))
    assert turn.content == (TextPart(text=TextValue(value=half)),)
    assert calls_of(turn) == [("a", "f", half)]


@pytest.mark.parametrize("one_call", [False, True])
def test_too_many_calls_are_refused(one_call: bool) -> None:
    turn = new_turn(one_call=one_call)
    fed(turn, *(chunk(None, part(place, None, "f", "{}")) for place in range(CALLS_PER_TURN_MAX)))
    with pytest.raises(TurnTooLarge):
        turn.feed(chunk(None, part(CALLS_PER_TURN_MAX, None, "f", "{}")))


# --- any split, any interleaving

names = st.text("abc_-19", min_size=1, max_size=8)
objects = st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers() | st.just({"{": "}"}), max_size=3)


@st.composite
def cut(draw: st.DrawFn, value: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(value)), max_size=4)))
    return [value[a:b] for a, b in itertools.pairwise([0, *cuts, len(value)])]


@st.composite
def streamed(draw: st.DrawFn, place: int, name: str, arguments: str, *, has_index: bool) -> list[ChunkToolCall]:
    """One call as one kind of server may stream it."""
    index = place if has_index else None
    id_ = f"call_{place}" if not has_index or draw(st.booleans()) else None
    repeats_id, repeats_name = draw(st.booleans()) or not has_index, draw(st.booleans())
    pieces = draw(cut(arguments))
    if repeats_name:
        pieces_of_name: Sequence[str] = [name]
    else:
        middle = draw(st.integers(0, len(name)))
        # Half a name that equals what came before it cannot be told from a repeated name.
        pieces_of_name = [name[:middle], name[middle:]] if name[:middle] != name[middle:] else [name]
    parts = [part(index, id_, piece, None) for piece in pieces_of_name[:-1]]
    for nth, piece in enumerate(pieces):
        first = not parts
        shown_name = pieces_of_name[-1] if nth == 0 or repeats_name else None
        parts.append(part(index, id_ if first or repeats_id else None, shown_name, piece))
    return parts


@st.composite
def interleaved(draw: st.DrawFn, streams: list[list[ChunkToolCall]], *, freely: bool) -> list[ChunkToolCall]:
    """The parts of all calls, each in its own order, a call's first part after the first part of the one before it."""
    left = [list(parts) for parts in streams]
    begun, merged = 0, []
    while any(left):
        ready = [place for place, parts in enumerate(left) if parts and place <= begun]
        place = draw(st.sampled_from(ready)) if freely else ready[0]
        begun = max(begun, place + 1)
        merged.append(left[place].pop(0))
    return merged


@given(st.data())
def test_any_split_and_interleaving_of_the_same_turn_reads_the_same(data: st.DataObject) -> None:
    text = data.draw(st.text(max_size=10))
    wanted = data.draw(st.lists(st.tuples(names, objects.map(json.dumps)), max_size=4))
    has_index = data.draw(st.booleans())
    streams = [
        data.draw(streamed(place, name, arguments, has_index=has_index))
        for place, (name, arguments) in enumerate(wanted)
    ]
    parts = data.draw(interleaved(streams, freely=has_index))
    chunks = [chunk(piece) for piece in data.draw(cut(text))]
    while parts:
        size = data.draw(st.integers(1, 3))
        chunks.append(chunk(None, *parts[:size]))
        del parts[:size]

    turn, shown = new_turn(), []
    for one in [*chunks, None]:
        shown += turn.feed(one) if one else turn.finish()
        content, calls = read_by_a_client(shown)
        assert content == msgspec.to_builtins(list(turn.content))
        assert calls == msgspec.to_builtins(list(turn.calls))

    assert "".join(part.text.value for part in turn.content) == text
    assert [(name, arguments) for _, name, arguments in calls_of(turn)] == wanted
    assert len({id_ for id_, _, _ in calls_of(turn)}) == len(wanted)
    indices = [piece.index for piece in shown if isinstance(piece, CallStarted | CallArguments)]
    assert indices == sorted(indices)
    assert [piece.index for piece in shown if isinstance(piece, CallStarted)] == list(range(len(wanted)))
