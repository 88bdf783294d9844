import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.chat.budget import Correction, Corrections
from understudy.core.limits import CORRECTED_MODELS_MAX, CORRECTION_MAX, CORRECTION_MIN


def test_nothing_is_corrected_before_anything_was_reported() -> None:
    assert Correction().ratio == 1.0
    assert Corrections().ratio("m") == 1.0


def test_the_ratio_settles_on_what_the_server_reports() -> None:
    correction = Correction()
    for _ in range(30):
        correction = correction.learned(estimated=1_000, reported=1_200)
    assert correction.ratio == pytest.approx(1.2, abs=0.01)


def test_one_short_prompt_moves_the_ratio_little() -> None:
    assert Correction().learned(estimated=10, reported=30).ratio < 1.1


@pytest.mark.parametrize(("estimated", "reported"), [(0, 10), (10, 0), (-1, -1)])
def test_an_answer_without_a_count_teaches_nothing(estimated: int, reported: int) -> None:
    assert Correction().learned(estimated=estimated, reported=reported) == Correction()


@given(st.lists(st.tuples(st.integers(-5, 10**9), st.integers(-5, 10**9))))
def test_the_ratio_stays_between_its_bounds(answers: list[tuple[int, int]]) -> None:
    correction = Correction()
    for estimated, reported in answers:
        correction = correction.learned(estimated=estimated, reported=reported)
        assert CORRECTION_MIN <= correction.ratio <= CORRECTION_MAX


def test_models_learn_apart_and_the_least_used_are_forgotten() -> None:
    corrections = Corrections()
    corrections.learn("old", estimated=10_000, reported=13_000)
    corrections.learn("used", estimated=10_000, reported=13_000)
    assert corrections.ratio("other") == 1.0
    for number in range(CORRECTED_MODELS_MAX - 1):
        corrections.learn(f"m{number}", estimated=10_000, reported=9_000)
        corrections.learn("used", estimated=10_000, reported=13_000)
    assert corrections.ratio("old") == 1.0
    assert corrections.ratio("used") == pytest.approx(1.3, abs=0.01)
