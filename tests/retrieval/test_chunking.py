"""Windows over texts: their sizes, their overlaps, what they cover, where they end."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splintr import Tokenizer

from understudy.retrieval.chunking import Stretch, stretches
from understudy.wire.tools import StaticChunkingOptions

TOKENIZER = Tokenizer.from_pretrained("o200k_base")
WORDS = st.sampled_from(["alpha", " beta", ". ", "!", "\n", "\n\n", "  ", "7", "9.81", "漢字", "。", "🙂", "é", "ß"])
TEXTS = st.one_of(
    st.lists(st.one_of(WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=900).map(
        "".join
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=2_000),
)


def options(size: int, overlap: int) -> StaticChunkingOptions:
    return StaticChunkingOptions(max_chunk_size_tokens=size, chunk_overlap_tokens=overlap)


def cut(text: str, size: int, overlap: int, *, piece_characters: int = 700) -> list[tuple[int, int, str, int]]:
    """Start and end in the whole text, the text between them, and its tokens, of each window."""
    found = list(stretches([text], options(size, overlap), piece_characters=piece_characters))
    assert_stretches_are_the_text(text, found)
    return [
        (part.offset + span.start, part.offset + span.end, part.text[span.start : span.end], span.tokens)
        for part in found
        for span in part.spans
    ]


def assert_stretches_are_the_text(text: str, found: Sequence[Stretch]) -> None:
    assert all(text.startswith(part.text, part.offset) for part in found)


def tokens(text: str) -> int:
    return len(TOKENIZER.encode_ordinary(text))


def sentences(count: int) -> str:
    return "".join(f"Sentence number {number} says that {number * 7} is more. " for number in range(count))


@given(TEXTS, st.integers(100, 140), st.integers(0, 70))
def test_windows_cover_the_text_in_order_within_their_size(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size // 2)
    windows = cut(text, size, overlap)
    rebuilt = ""
    for start, end, between, count in windows:
        assert text[start:end] == between
        assert 0 < count == tokens(between) <= size
        assert start <= len(rebuilt) < end
        rebuilt += text[len(rebuilt) : end]
    assert rebuilt == text


@given(TEXTS, st.integers(100, 140), st.integers(0, 70))
def test_neighbours_share_the_overlap_and_no_more(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size // 2)
    for (_, end, _, _), (start, _, _, _) in itertools.pairwise(cut(text, size, overlap)):
        # Up to three tokens may hold parts of one character; tokenised alone, a few bytes may come to other tokens.
        assert tokens(text[start:end]) <= overlap + 3
        assert overlap == 0 or tokens(text[start:end]) >= overlap - 6
    if overlap == 0:
        assert "".join(between for _, _, between, _ in cut(text, size, overlap)) == text


@pytest.mark.parametrize("piece_characters", [500, 1_000, 10_000])
def test_the_length_of_pieces_changes_no_window(piece_characters: int) -> None:
    text = sentences(400) + "\n\nfoo(bar);\n/baz\n  indented\n \n\n" + sentences(30) + "1234567890 " * 300
    whole = cut(text, 100, 50, piece_characters=10**9)
    assert cut(text, 100, 50, piece_characters=piece_characters) == whole
    assert sum(count for *_, count in cut(text, 100, 0, piece_characters=piece_characters)) == tokens(text)


def test_texts_that_are_put_together_are_one_text() -> None:
    text = sentences(100)
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    assert list(stretches(pieces, options(100, 20))) == list(stretches([text], options(100, 20)))


def test_a_window_ends_with_a_sentence_if_one_ends_near() -> None:
    windows = cut(sentences(200), 200, 100)
    assert all(between.rstrip().endswith("more.") for _, _, between, _ in windows)
    assert all(count >= 180 for *_, count in windows[:-1])


def test_a_window_prefers_the_end_of_a_paragraph() -> None:
    paragraph = "One two three four five. Six seven.\n\n"
    assert all(between.endswith("\n\n") for _, _, between, _ in cut(paragraph * 60, 120, 0))


def test_without_any_good_place_a_window_is_full() -> None:
    assert [count for *_, count in cut("word " * 500, 100, 0)][:-1] == [100] * 5


def test_a_text_without_characters_has_no_window() -> None:
    assert cut("", 100, 50) == []


def test_a_short_text_is_one_window() -> None:
    assert cut("Hello.", 800, 400) == [(0, 6, "Hello.", 2)]


@pytest.mark.parametrize("unit", ["a", " ", "🏳️‍🌈", "ﷺ", "\n", "漢", "\u0301", "\0", "<|endoftext|>"])
def test_a_line_without_end_is_cut_too(unit: str) -> None:
    text = unit * 20_000
    windows = cut(text, 100, 50, piece_characters=4_096)
    assert windows[0][0] == 0
    assert windows[-1][1] == len(text)
    assert all(later[0] <= earlier[1] for earlier, later in itertools.pairwise(windows))
    assert max(count for *_, count in windows) <= 100


def test_a_stretch_is_no_longer_than_a_piece_and_a_window() -> None:
    found = stretches(["The quick brown fox. " * 50_000], options(100, 50), piece_characters=10_000)
    assert max(len(part.text) for part in found) <= 10_000 + 100 * 10
