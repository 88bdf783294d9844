"""Search by words: BM25 as a library computes it, however the rows are divided."""

from typing import Any

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.limits import QUERY_TERMS_MAX
from understudy.retrieval.postings import Postings, WordScores, score_words
from understudy.retrieval.terms import term_counts, unpack

words = st.sampled_from(["wing", "flow", "heat", "plate", "shock", "漢字", "the"])
texts = st.lists(words, max_size=12).map(" ".join)


def postings(rows: list[str]) -> Postings:
    return Postings.of([term_counts(row) for row in rows])


def scored(parts: list[list[str]], query: str, live: list[bool] | None = None) -> WordScores:
    rows = sum(map(len, parts))
    alive = np.ones(rows, np.bool_) if live is None else np.array(live, np.bool_)
    return score_words([postings(part) for part in parts], alive, unpack(term_counts(query)))


def oracle(rows: list[str], query: str) -> Any:
    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    counted = [unpack(term_counts(row)) for row in rows]
    index.index([np.repeat(one.hashes, one.counts).astype(str).tolist() for one in counted], show_progress=False)
    # That method leaves out the factor k1 + 1, which changes no order.
    return index.get_scores(unpack(term_counts(query)).hashes.astype(str).tolist()) * 2.2


def test_scores_are_those_of_a_library() -> None:
    rows = ["wing flow wing", "flow and heat", "a heated plate", "shock", "flow flow flow plate over wings"]
    for query in ("wing", "flow over a plate", "shock wave"):
        assert scored([rows], query).scores == pytest.approx(oracle(rows, query), rel=1e-4)


@given(st.lists(texts, max_size=8), texts, st.integers(0, 8))
def test_a_division_into_parts_changes_nothing(rows: list[str], query: str, cut: int) -> None:
    whole, parts = scored([rows], query), scored([rows[:cut], rows[cut:]], query)
    assert parts.scores.tolist() == pytest.approx(whole.scores.tolist(), rel=1e-5)
    assert parts.whole == pytest.approx(whole.whole)


@given(st.lists(st.tuples(texts, st.booleans()), max_size=8), texts)
def test_dead_rows_are_as_if_not_there(rows: list[tuple[str, bool]], query: str) -> None:
    live = [alive for _, alive in rows]
    among = scored([[text for text, _ in rows]], query, live)
    alone = scored([[text for text, alive in rows if alive]], query)
    assert among.scores[np.array(live, np.bool_)].tolist() == pytest.approx(alone.scores.tolist(), rel=1e-5)
    assert not among.scores[~np.array(live, np.bool_)].any()


@given(st.lists(st.lists(st.tuples(texts, st.booleans()), max_size=5), min_size=1, max_size=3))
def test_merged_postings_are_those_of_the_rows_that_are_kept(parts: list[list[tuple[str, bool]]]) -> None:
    places, count = [], 0
    for part in parts:
        kept = np.array([keep for _, keep in part], np.bool_)
        places.append(np.where(kept, np.cumsum(kept) - 1 + count, -1))
        count += int(kept.sum())
    merged = Postings.merged([postings([text for text, _ in part]) for part in parts], places)
    alone = postings([text for part in parts for text, keep in part if keep])
    for name in ("hashes", "starts", "rows", "counts", "lengths"):
        assert getattr(merged, name).tolist() == getattr(alone, name).tolist()


def test_a_row_of_average_length_with_every_word_once_is_the_whole() -> None:
    found = scored([["wing flow", "heat plate"]], "wing flow")
    assert found.scores[0] == pytest.approx(found.whole, rel=1e-5)


def test_words_that_nobody_has_make_a_part_of_the_query_smaller() -> None:
    rows = ["wing flow", "heat plate"]
    assert scored([rows], "wing").whole < scored([rows], "wing quark").whole


def test_an_empty_collection_scores_nothing() -> None:
    assert scored([], "wing") == WordScores(pytest.approx([]), 0.0)
    assert scored([["", "the"]], "wing").scores.tolist() == [0, 0]


def test_a_query_of_very_many_words_is_bounded() -> None:
    many = " ".join(f"w{number}x" for number in range(10 * QUERY_TERMS_MAX))
    found = scored([[many]], many)
    assert np.isfinite(found.scores).all()
