"""What a text is searched by."""

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.retrieval.terms import term_counts, unpack, window_counts


def hashes(text: str) -> set[int]:
    return set(unpack(term_counts(text)).hashes.tolist())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Flows flowing flowed", "flow"),
        ("RELATIONAL conditions", "relate condition"),
        ("Café naïve Ünïcödé", "cafe naive unicode"),
        ("Cafe\u0301", "café"),
        ("ＡＢＣ ﬁne Straße", "abc fine strasse"),
        ("snake_case", "snake case"),
        ("Ёлка", "елка"),
        ("ΟΔΟΣ", "οδος"),
    ],
)
def test_spellings_of_a_word_are_the_same_term(one: str, other: str) -> None:
    assert hashes(one) == hashes(other)


def test_stop_words_are_no_terms() -> None:
    assert unpack(term_counts("The cat isn't on the mat, it's his")).length == 2


def test_a_text_without_words_has_no_terms() -> None:
    terms = unpack(term_counts(" … !? "))
    assert (terms.length, len(terms.hashes), len(terms.counts)) == (0, 0, 0)


def test_terms_are_counted_and_sorted_by_their_hash() -> None:
    terms = unpack(term_counts("wing flow wing flowing wings tail"))
    counted = {crc32(b"wing"): 3, crc32(b"flow"): 2, crc32(b"tail"): 1}
    assert terms.length == 6
    assert terms.hashes.tolist() == sorted(counted)
    assert terms.counts.tolist() == [counted[one] for one in sorted(counted)]


def test_counts_stop_at_255() -> None:
    terms = unpack(term_counts("wing " * 1000))
    assert terms.counts.tolist() == [255]
    assert terms.length == 1000


@pytest.mark.parametrize(("text", "query"), [("漢字かな交じり文", "漢字"), ("한국어를", "한국"), ("ภาษาไทย", "ไทย")])
def test_scripts_without_spaces_are_found_by_a_part(text: str, query: str) -> None:
    assert hashes(query) <= hashes(text)


def test_vowel_signs_do_not_cut_a_word() -> None:
    assert len(hashes("हिन्दी")) == 1
    assert hashes("हिन्दी") != hashes("हनद")


def test_what_is_packed_does_not_change_between_versions() -> None:
    assert term_counts("Experimental investigation of the aerodynamics of a wing").hex() == (
        "04000000b2586f134bae3db0440502b8a9cc66c001010101"
    )


@given(st.text(max_size=200))
def test_any_text_has_terms_that_can_be_read_back(text: str) -> None:
    terms = unpack(term_counts(text))
    assert (np.diff(terms.hashes.astype(np.int64)) > 0).all()
    assert terms.length >= terms.counts.sum() >= len(terms.hashes)


@given(st.text(st.characters(categories=["L", "N", "Zs", "Cs", "M"]), max_size=100))
def test_upper_case_changes_nothing(text: str) -> None:
    if text.upper().lower() == text.lower():
        assert term_counts(text.upper()) == term_counts(text)


@pytest.mark.parametrize("packed", [b"", b"abc", b"12345"])
def test_other_bytes_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="no packed terms"):
        unpack(packed)


@given(st.lists(st.sampled_from(["Flows", "flow", "Naïve", "İstanbul", "ΟΔΟΣ", "漢字かな", "the", "snake_case", "7"])))
def test_windows_have_the_terms_of_their_texts(words: list[str]) -> None:
    text = " ".join(words)
    starts = [len(" ".join(words[:count])) for count in range(len(words) + 1)]
    spans = [(start, end) for start in starts for end in starts if start <= end]
    assert window_counts(text, spans) == [term_counts(text[start:end]) for start, end in spans]


@given(st.text(max_size=200))
def test_a_window_over_all_has_the_terms_of_all(text: str) -> None:
    assert window_counts(text, [(0, len(text))]) == [term_counts(text)]


def test_a_word_on_an_edge_belongs_to_the_window_in_which_it_begins() -> None:
    assert window_counts("flow heat", [(0, 6), (6, 9)]) == [term_counts("flow heat"), term_counts("")]
