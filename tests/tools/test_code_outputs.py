"""What code puts out, as its readers and its model are shown it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from understudy.core.limits import CODE_IMAGES_MAX, CODE_LOGS_LENGTH_MAX
from understudy.tools.code_outputs import Outputs, clipped
from understudy.wire.steps import ImageOutput, LogsOutput


def logs(output: LogsOutput | ImageOutput) -> str:
    return output.logs if isinstance(output, LogsOutput) else f"<{output.image.file_id}>"


async def test_the_first_words_are_shown_at_once_and_those_that_follow_together() -> None:
    shown: list[str] = []
    more = asyncio.Event()

    def show(output: LogsOutput | ImageOutput) -> None:
        shown.append(logs(output))
        more.set()

    outputs = Outputs(show)
    for number in range(1_000):
        outputs.print(f"{number}\n")
    assert shown == ["0\n"]
    more.clear()
    await asyncio.wait_for(more.wait(), 5)
    assert len(shown) == 2
    outputs.print("last")
    outputs.flush()
    outputs.close()
    assert "".join(shown) == "".join(map(logs, outputs.outputs)) == "".join(f"{n}\n" for n in range(1_000)) + "last"


async def test_nothing_is_shown_after_the_end() -> None:
    shown: list[str] = []
    outputs = Outputs(lambda output: shown.append(logs(output)))
    outputs.print("a")
    outputs.print("b")
    outputs.close()
    await asyncio.sleep(0.06)
    assert shown == ["a"]


async def test_values_have_lines_of_their_own_and_images_stand_between_logs() -> None:
    shown: list[str] = []
    outputs = Outputs(lambda output: shown.append(logs(output)))
    outputs.print("a")
    outputs.line("1")
    outputs.print("b\n")
    outputs.line("2")
    outputs.image("file-1")
    outputs.line("3")
    outputs.close()
    assert list(map(logs, outputs.outputs)) == ["a\n1\nb\n2", "<file-1>", "3"]
    assert outputs.told(["So."], 1_000, len) == (
        "a\n1\nb\n2\n[image 1: the user is shown it above your answer]\n3\nSo."
    )


async def test_logs_and_images_are_bounded() -> None:
    outputs = Outputs(lambda _: None)
    for _ in range(20):
        outputs.print("x" * (CODE_LOGS_LENGTH_MAX // 10))
    for number in range(CODE_IMAGES_MAX):
        assert outputs.takes_image
        outputs.image(f"file-{number}")
    assert not outputs.takes_image
    outputs.close()
    (text, *_) = outputs.outputs
    assert len(logs(text)) < CODE_LOGS_LENGTH_MAX + 100
    assert "[What follows is left out.]" in logs(text)


async def test_what_no_database_takes_is_made_into_text() -> None:
    outputs = Outputs(lambda _: None)
    outputs.print("a\0b\ud800c")
    outputs.close()
    assert list(map(logs, outputs.outputs)) == ["a\ufffdb?c"]


@given(st.text(max_size=2_000), st.integers(min_value=-10, max_value=400))
def test_what_the_model_is_told_fits_its_budget(text: str, budget: int) -> None:
    def count(told: str) -> int:
        return (len(told) + 3) // 4

    told = clipped(text, budget, count)
    if count(text) <= budget:
        assert told == text
    else:
        assert count(told) <= max(budget, 20)
        assert "left out here" in told or not text
