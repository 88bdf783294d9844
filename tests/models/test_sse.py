import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.models.sse import SseParser, TooLong


def parsed(*reads: bytes) -> list[bytes]:
    parser = SseParser()
    return [payload for read in reads for payload in parser.feed(read)] + parser.end()


def test_a_read_of_whole_events_gives_their_payloads() -> None:
    assert SseParser().feed(b'data: {"a":1}\n\ndata: [DONE]\n\n') == [b'{"a":1}', b"[DONE]"]


def test_an_event_is_given_as_soon_as_its_blank_line_has_come_even_after_a_bare_cr() -> None:
    parser = SseParser()
    assert parser.feed(b"data: 1\r\n\r") == [b"1"]
    assert parser.feed(b"\ndata: 2\r\r") == [b"2"]


def test_a_crlf_split_between_reads_is_one_line_end() -> None:
    parser = SseParser()
    assert parser.feed(b"data: 1\r") == []
    assert parser.feed(b"\ndata: 2\r") == []
    assert parser.feed(b"\n\r\n") == [b"1\n2"]


def test_comments_and_other_fields_are_passed_over() -> None:
    assert parsed(b": ping\n\nevent: x\nid: 7\nretry: 3\ndata: 1\nnonsense\n\n: ping\n\n") == [b"1"]


def test_only_one_space_after_the_colon_is_not_part_of_the_data() -> None:
    assert parsed(b"data:1\n\ndata:  2\n\n") == [b"1", b" 2"]


def test_data_lines_of_one_event_are_joined_and_a_bare_data_line_is_an_empty_one() -> None:
    assert parsed(b"data: 1\ndata\ndata: 2\n\n") == [b"1\n\n2"]


@pytest.mark.parametrize("cut", range(4))
def test_a_byte_order_mark_at_the_start_is_passed_over_wherever_it_is_split(cut: int) -> None:
    stream = b"\xef\xbb\xbfdata: 1\n\n"
    assert parsed(stream[:cut], stream[cut:]) == [b"1"]


def test_a_last_event_without_its_blank_line_is_given_at_the_end() -> None:
    assert parsed(b"data: 1\n\ndata: [DONE]") == [b"1", b"[DONE]"]


@pytest.mark.parametrize("reads", [[b"data: " + b"x" * 100], [b"x" * 60] * 2, [b"data: xxxxxxxx\n"] * 9])
def test_what_grows_beyond_the_limit_is_refused(reads: list[bytes]) -> None:
    parser = SseParser(event_bytes_max=64)
    with pytest.raises(TooLong):
        [parser.feed(read) for read in reads]


def test_many_short_events_in_one_read_are_no_long_event() -> None:
    assert len(SseParser(event_bytes_max=64).feed(b"data: xxxxxxxxxxxx\n\n" * 50)) == 50


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=12)
EVENTS = st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=3), st.sampled_from(["", ": note", "event: e"])))


@given(EVENTS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.data())
def test_however_a_stream_is_split_its_payloads_are_the_same(
    events: list[tuple[list[str], str]], newline: str, mark: bool, draw: st.DataObject
) -> None:
    text = "\ufeff" if mark else ""
    for lines, other in events:
        text += "".join(f"data: {line}{newline}" for line in lines) + (other + newline if other else "") + newline
    stream = text.encode()
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reads = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parsed(*reads) == ["\n".join(lines).encode() for lines, _ in events]


@given(st.lists(st.dictionaries(TEXTS, TEXTS, max_size=3), max_size=6), st.integers(1, 9))
def test_reads_of_any_size_give_the_json_that_was_sent(trees: list[dict[str, str]], size: int) -> None:
    stream = b"".join(b"data: " + json.dumps(tree).encode() + b"\n\n" for tree in trees)
    reads = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [json.loads(payload) for payload in parsed(*reads)] == trees
