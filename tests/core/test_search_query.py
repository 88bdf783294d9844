"""What is left of a question when it is searched for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.search_query import rewritten


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("What is the capital of France?", "capital France"),
        ("Could you please tell me how to reset a password?", "reset password"),
        ("Show me all invoices from March, 2024!", "all invoices March 2024"),
        ("C++ vs. Rust", "C++ vs Rust"),
        ("¿Dónde está la biblioteca?", "Dónde está la biblioteca"),
        ("who is it?", "who is it?"),
        ("???", "???"),
        ("東京の天気", "東京の天気"),
        ("error 0x80070057", "error 0x80070057"),
    ],
)
def test_courtesies_and_question_words_go(query: str, words: str) -> None:
    assert rewritten(query) == words


@given(st.text(min_size=1))
def test_something_is_always_left_and_nothing_is_added(query: str) -> None:
    found = rewritten(query)
    assert found
    assert found == query or set(found) <= set(query) | {" "}
    assert rewritten(found) == found
