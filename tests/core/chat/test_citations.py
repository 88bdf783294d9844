"""Citations as models write them, and the text that streams while they do."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.chat.citations import Citable, Citations, Cited
from understudy.core.limits import MARKER_LABEL_LENGTH_MAX
from understudy.core.run.state import Note, Source
from understudy.wire.messages import FileCitation


def note(turn: int, *names: str, first: int = 0) -> Note:
    output = "".join(f"<{name}>" for name in names)
    ends = [output.index(f"<{name}>") + len(name) + 2 for name in names]
    sources = [
        Source(file_id=f"file-{name}", file_name=name, start=end - len(name) - 2, end=end, page=3)
        for name, end in zip(names, ends, strict=True)
    ]
    return Note(arguments="{}", output=output, sources=sources, turn=turn, first=first)


NOTES = (note(0, "a.txt", "b c.pdf"), note(0, "more.md", first=2), note(2, "late.txt"))


def cited(*pieces: str, notes: tuple[Note, ...] = NOTES) -> tuple[str, list[FileCitation]]:
    citations = Citations(Citable(notes))
    told = [citations.feed(piece) for piece in pieces] + [citations.finish()]
    return "".join(one.value for one in told), [annotation for one in told for annotation in one.annotations]


def shown(text: str) -> tuple[str, list[str]]:
    value, annotations = cited(text)
    return value, [annotation.file_citation.file_id for annotation in annotations]


@pytest.mark.parametrize(
    ("written", "value", "files"),
    [
        ("So【0:0†source】.", "So【0:0†source】.", ["file-a.txt"]),
        ("So【0:1†b c.pdf】.", "So【0:1†source】.", ["file-b c.pdf"]),
        ("So[0:1†b c.pdf].", "So【0:1†source】.", ["file-b c.pdf"]),
        ("So [2:0†source] 【0:2†source】", "So 【2:0†source】 【0:2†source】", ["file-late.txt", "file-more.md"]),
        ("So【0:0】.", "So【0:0†source】.", ["file-a.txt"]),
        ("So【 0 : 1 】.", "So【0:1†source】.", ["file-b c.pdf"]),
        ("So[0:1].", "So【0:1†source】.", ["file-b c.pdf"]),
        ("So【1†source】.", "So【0:1†source】.", ["file-b c.pdf"]),
        ("So【1】.", "So【0:1†source】.", ["file-b c.pdf"]),
        ("So[1].", "So【0:1†source】.", ["file-b c.pdf"]),
        ("So[1][2]", "So【0:1†source】【0:2†source】", ["file-b c.pdf", "file-more.md"]),
        (
            "A number alone means the newest turn [0]",
            "A number alone means the newest turn 【2:0†source】",
            ["file-late.txt"],
        ),
        ("So【0:0†source】【0:0†source】", "So【0:0†source】【0:0†source】", ["file-a.txt", "file-a.txt"]),
        ("So【0:0†source]", "So【0:0†source】", ["file-a.txt"]),
    ],
)
def test_each_way_to_write_a_marker_becomes_the_one(written: str, value: str, files: list[str]) -> None:
    assert shown(written) == (value, files)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("So【0:0†source and on", "So【0:0†source】 and on"),
        ("So【0:0†source\nand on", "So【0:0†source】\nand on"),
        ("So【0:1†b c.pdf and on", "So【0:1†source】 and on"),
        ("So【0:1†report, and on", "So【0:1†source】, and on"),
        ("So【0:0", "So【0:0†source】"),
        ("So【0:0†", "So【0:0†source】"),
        ("So【0:0†sou", "So【0:0†source】"),
        ("So【0:0 and on", "So【0:0†source】 and on"),
        ("So【0:0【0:1†source】", "So【0:0†source】【0:1†source】"),
        ("So[0:0†source【0:1†source】", "So【0:0†source】【0:1†source】"),
    ],
)
def test_a_marker_without_its_end_ends_where_its_label_does(written: str, value: str) -> None:
    assert shown(written)[0] == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("So【7:0†source】.", "So."),
        ("So[0:9†report.pdf].", "So."),
        ("So【9:9】.", "So."),
        ("So【99†source】.", "So."),
    ],
)
def test_a_marker_that_points_nowhere_is_left_out(written: str, value: str) -> None:
    assert shown(written) == (value, [])


@pytest.mark.parametrize(
    "written",
    [
        "[1](https://example.com)",
        "[1]: https://example.com",
        "text\n[1]: https://example.com",
        "[a link][1]",
        "an array [9] and [x] and [ ] and [1.5]",
        "`array[1]` and ``a ` [1]``",
        "```python\nx = a[1]\n\ny = a[0:1]\n```",
        "> ```\n> a[0]\n",
        "\\[1]",
        "【重要】【7】【2024年】",
        "[1, 2]",
        "[1234567]",
        "[",
        "【",
        "[1",
        "[0:",
    ],
)
def test_what_is_no_marker_stays_as_it_is(written: str) -> None:
    assert shown(written) == (written, [])


@pytest.mark.parametrize("before", ["```\ncode\n```\n", "`code` ", "it`s unclosed\n\n", "```\ncode `x\n```\n"])
def test_behind_code_a_number_is_a_marker_again(before: str) -> None:
    assert shown(before + "so [1].") == (before + "so 【0:1†source】.", ["file-b c.pdf"])


def test_a_whole_marker_is_one_in_code_too() -> None:
    assert shown("`x【0:0†source】`")[1] == ["file-a.txt"]


@pytest.mark.parametrize("written", ["as [1] says", "array[0:1]", "【1】"])
def test_without_passages_brackets_are_just_brackets(written: str) -> None:
    assert cited(written, notes=()) == (written, [])


def test_indexes_count_characters_and_not_their_encoding() -> None:
    value, annotations = cited("\U0001f600 so【0:0†source】")
    assert (annotations[0].start_index, annotations[0].end_index) == (4, 16)
    assert value[4:16] == annotations[0].text == "【0:0†source】"


def test_text_without_brackets_is_never_held_back() -> None:
    citations = Citations(Citable(NOTES))
    assert [citations.feed(piece) for piece in ("a", "b `", "c")] == [Cited("a"), Cited("b `"), Cited("c")]


def test_no_more_is_held_back_than_a_marker_is_long() -> None:
    citations = Citations(Citable(NOTES))
    told = sum(len(citations.feed(piece).value) for piece in "【0:0†" + "x" * 1000)
    assert told > 1000 - MARKER_LABEL_LENGTH_MAX


def test_details_tell_what_is_cited_and_where() -> None:
    citations = Citations(Citable(NOTES, details=True))
    (annotation,) = citations.feed("【0:1†source】").annotations
    target = annotation.file_citation
    assert (target.quote, target.page, target.filename) == ("<b c.pdf>", 3, "b c.pdf")


WRITING = st.lists(
    st.sampled_from(
        [
            "【",
            "[",
            "]",
            "】",
            "0",
            "1",
            "2",
            ":",
            "†",
            "source",
            "b c.pdf",
            " ",
            "\n",
            "`",
            "```",
            "(",
            "x",
            "\U0001f600",
            "!",
        ]
    ),
    max_size=40,
).map("".join)
MARKED = st.lists(
    st.one_of(WRITING, st.sampled_from(["【0:1†source】", "[1]", "【0:0†a.txt", "[0:1†b c.pdf]"])), max_size=6
)


@given(MARKED.map("".join), st.lists(st.integers(min_value=0, max_value=200), max_size=12))
def test_however_a_text_is_cut_the_same_comes_out(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    whole = cited(text)
    assert cited(*pieces) == whole
    assert cited(*text) == whole


@given(MARKED.map("".join))
def test_each_annotation_is_of_the_marker_that_it_names(text: str) -> None:
    value, annotations = cited(text)
    ends = 0
    for annotation in annotations:
        assert value[annotation.start_index : annotation.end_index] == annotation.text
        assert annotation.start_index >= ends
        ends = annotation.end_index
    assert value.count("†source】") >= len(annotations)
    assert [
        one
        for one in annotations
        if one.file_citation.file_id not in {f"file-{s.file_name}" for n in NOTES for s in n.sources}
    ] == []


@given(st.text(alphabet="ab `\n\U0001f600"))
def test_a_text_without_brackets_comes_out_as_it_is(text: str) -> None:
    assert cited(text) == (text, [])
