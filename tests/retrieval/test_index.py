"""An index that follows its store is the one that would be made anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.ports import Embedding, IndexedFile, IndexHead, IndexRow
from understudy.retrieval.index import StoreIndex
from understudy.retrieval.ranking import Query, rank
from understudy.retrieval.terms import term_counts
from understudy.wire.vector_stores import GreaterOrEqual

SPACE = Embedding(model="numbers", dimensions=8)
WORDS = ["wing", "flow", "heat", "plate", "shock"]


def head(version: int, *generations: int, embedding: Embedding | None = SPACE) -> IndexHead:
    files = [
        IndexedFile(file_id=f"f{one}", file_name="f", generation=one, attributes={"generation": one})
        for one in generations
    ]
    return IndexHead(version=version, embedding=embedding, files=files)


def rows(generation: int, embedding: Embedding | None = SPACE) -> list[IndexRow]:
    """A file's chunks, which its generation says."""
    random = np.random.default_rng(generation)
    made = []
    for number in range(int(random.integers(0, 6))):
        vector = random.standard_normal(8).astype("<f2")
        words = " ".join(random.choice(WORDS, 4))
        made.append(
            IndexRow(number=number, terms=term_counts(words), vector=None if embedding is None else vector.tobytes())
        )
    return made


def anew(wanted: IndexHead) -> StoreIndex:
    files = {file.generation: rows(file.generation, wanted.embedding) for file in wanted.files}
    return StoreIndex.empty(wanted).becoming(wanted, files)


def answers(index: StoreIndex) -> list[tuple[str, int, float]]:
    query = Query("flow over a wing", {SPACE: np.ones(8, np.float32)})
    found = rank([index], [query], None, limit=50)
    return sorted(
        (index.files[index.file_of[one.row]].file_id, int(index.numbers[one.row]), round(one.score, 4)) for one in found
    )


@given(st.lists(st.sets(st.integers(1, 30), max_size=12), min_size=1, max_size=8), st.booleans())
def test_an_index_that_follows_its_store_finds_what_a_new_one_finds(
    changes: list[set[int]], with_vectors: bool
) -> None:
    space = SPACE if with_vectors else None
    index = StoreIndex.empty(head(0, embedding=space))
    for version, generations in enumerate(changes, 1):
        wanted = head(version, *sorted(generations), embedding=space)
        fresh = {one: rows(one, space) for one in sorted(generations) if not index.has(one)}
        index = index.becoming(wanted, fresh)
        assert index.version == version
        assert answers(index) == answers(anew(wanted))


def test_many_small_changes_leave_few_segments() -> None:
    index = StoreIndex.empty(head(0))
    for version in range(1, 200):
        index = index.becoming(head(version, *range(1, version + 1)), {version: rows(version)})
    assert len(index.segments) <= 5
    assert np.count_nonzero(index.file_of >= 0) == sum(len(rows(one)) for one in range(1, 200))


def test_rows_of_files_that_are_gone_are_dropped_sooner_or_later() -> None:
    index = anew(head(1, *range(1, 100)))
    index = index.becoming(head(2, 7), {})
    assert index.rows == len(rows(7))


def test_vectors_of_two_spaces_are_not_joined() -> None:
    with pytest.raises(AssertionError, match="two spaces"):
        anew(head(1, 1)).becoming(head(2, 1, embedding=None), {})


def test_a_vector_of_another_size_is_no_vector() -> None:
    broken = [IndexRow(number=0, terms=term_counts("wing"), vector=b"1234")]
    index = StoreIndex.empty(head(1, 1)).becoming(head(1, 1), {1: broken})
    assert [one.row for one in rank([index], [Query("wing", {SPACE: np.ones(8, np.float32)})], None, limit=5)] == [0]


def test_ten_best_under_a_filter_are_those_of_an_exact_comparison() -> None:
    space = Embedding(model="numbers", dimensions=32)
    random = np.random.default_rng(1)
    vectors = random.standard_normal((5_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nothing = term_counts("")
    files = {
        one: [
            IndexRow(number=n, terms=nothing, vector=vectors[100 * one + n].astype("<f2").tobytes()) for n in range(100)
        ]
        for one in range(50)
    }
    wanted = head(1, *range(50), embedding=space)
    index = StoreIndex.empty(wanted).becoming(wanted, files)
    hits = 0
    for vector in random.standard_normal((20, 32)).astype(np.float32):
        query = Query("", {space: vector / np.linalg.norm(vector)})
        found = rank([index], [query], GreaterOrEqual(key="generation", value=30), limit=10)
        exact = 3_000 + np.argsort(-(vectors[3_000:] @ vector))[:10]
        hits += len({one.row for one in found} & set(exact.tolist()))
    assert hits >= 0.99 * 200


def test_what_is_far_in_meaning_comes_last_and_is_found_all_the_same() -> None:
    away = -np.ones(8, "<f2")
    far = [IndexRow(number=0, terms=term_counts("heat"), vector=away.tobytes())]
    index = StoreIndex.empty(head(1, 1, 2)).becoming(head(1, 1, 2), {1: far, 2: rows(2)})
    found = rank([index], [Query("flow over a wing", {SPACE: np.ones(8, np.float32)})], None, limit=50)
    assert len(found) == index.rows
    assert (index.files[index.file_of[found[-1].row]].file_id, found[-1].score) == ("f1", 0)
