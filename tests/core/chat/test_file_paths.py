"""Paths of the sandbox in what a model writes, and the text that streams while it does."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.chat.citations import Citable
from understudy.core.chat.file_paths import PREFIX, Annotator, FilePaths
from understudy.core.chat.made import made_files
from understudy.core.run.state import MadeFile, Note, Source
from understudy.wire.messages import (
    Annotation,
    FilePath,
    FilePathTarget,
    Message,
    TextPart,
    TextValue,
)

MADE = {
    "t.csv": "file-t",
    "t.csv.gz": "file-gz",
    "my plot (2).png": "file-plot",
    "out/t.csv": "file-out",
    "données.txt": "file-d",
    "a": "file-a",
}
CITABLE = Citable([Note(arguments="", output="abc", sources=[Source(file_id="f", file_name="x", start=0, end=3)])])


def found(*pieces: str, made: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """Each path with its file."""
    paths = FilePaths(MADE if made is None else made)
    text = "".join(pieces)
    told = [one for piece in pieces for one in paths.feed(piece)] + paths.finish()
    assert all(text[one.start_index : one.end_index] == one.text for one in told)
    return [(one.text.removeprefix(PREFIX), one.file_path.file_id) for one in told]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("[t](sandbox:/mnt/data/t.csv)", [("t.csv", "file-t")]),
        ("See sandbox:/mnt/data/t.csv.", [("t.csv", "file-t")]),
        ("See sandbox:/mnt/data/t.csv", [("t.csv", "file-t")]),
        ("`sandbox:/mnt/data/t.csv.gz`", [("t.csv.gz", "file-gz")]),
        ("[p](sandbox:/mnt/data/my plot (2).png)", [("my plot (2).png", "file-plot")]),
        ("[p](sandbox:/mnt/data/my%20plot%20(2).png)", [("my%20plot%20(2).png", "file-plot")]),
        ("[p](sandbox:/mnt/data/my%20plot%20%282%29.png)", [("my%20plot%20%282%29.png", "file-plot")]),
        ("\U0001f600 sandbox:/mnt/data/données.txt!", [("données.txt", "file-d")]),
        ("sandbox:/mnt/data/donn%C3%A9es.txt", [("donn%C3%A9es.txt", "file-d")]),
        ("sandbox:/mnt/data/out/t.csv", [("out/t.csv", "file-out")]),
        ("sandbox:/mnt/data/a, sandbox:/mnt/data/a", [("a", "file-a"), ("a", "file-a")]),
        ("sandbox:/mnt/data/t.csv - and on", [("t.csv", "file-t")]),
        ("sandbox:/mnt/data/sandbox:/mnt/data/a", [("a", "file-a")]),
    ],
)
def test_a_path_of_a_file_that_there_is_is_annotated(text: str, paths: list[tuple[str, str]]) -> None:
    assert found(text) == paths


@pytest.mark.parametrize(
    "text",
    [
        "sandbox:/mnt/data/other.csv",
        "sandbox:/mnt/data/t.csv2",
        "sandbox:/mnt/data/t.csv.bak",
        "sandbox:/mnt/data/../t.csv",
        "sandbox:/mnt/data/ab",
        "sandbox:/mnt/data/",
        "/mnt/data/t.csv",
        "sandbox:/mnt/dat",
    ],
)
def test_what_names_no_file_is_not(text: str) -> None:
    assert found(text) == []


PIECES = st.sampled_from(
    [
        "sandbox:/mnt/data/",
        "sandbox",
        *MADE,
        "t.csv",
        ".",
        "x",
        " ",
        "(",
        ")",
        "\U0001f600",
        "【0:0†source】",
        "[0]",
        "%20",
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def annotated(*pieces: str) -> tuple[str, list[Annotation]]:
    annotator = Annotator(CITABLE, MADE)
    told = [annotator.feed(piece) for piece in pieces] + [annotator.finish()]
    both = [annotation for one in told for annotation in one.annotations]
    return "".join(one.value for one in told), sorted(both, key=lambda one: one.start_index)


@given(TEXTS, st.lists(st.integers(min_value=0, max_value=200), max_size=12))
def test_however_a_text_is_cut_the_same_comes_out(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert annotated(*(text[begin:end] for begin, end in pairwise(places))) == annotated(text)


@given(TEXTS)
def test_every_annotation_is_where_it_says_and_comes_once(text: str) -> None:
    value, annotations = annotated(*text)
    for one in annotations:
        assert value[one.start_index : one.end_index] == one.text
    assert all(one.end_index <= other.start_index for one, other in pairwise(annotations))


@given(TEXTS)
def test_no_more_is_remembered_of_a_text_than_a_path_is_long(text: str) -> None:
    paths = FilePaths(MADE)
    for character in text * 3:
        paths.feed(character)
        assert len(paths._unread) <= len(PREFIX) + paths._lengths[0] + 2


def test_the_text_is_not_held_back() -> None:
    annotator = Annotator(None, MADE)
    assert [annotator.feed(piece).value for piece in ("a sand", "box:/mnt/", "data/t.csv")] == [
        "a sand",
        "box:/mnt/",
        "data/t.csv",
    ]
    rest = annotator.finish()
    assert (rest.value, len(rest.annotations)) == ("", 1)


def test_the_newest_file_of_a_name_is_the_one_that_is_meant() -> None:
    earlier = FilePath(
        text=f"{PREFIX}my%20t.csv", start_index=0, end_index=28, file_path=FilePathTarget(file_id="file-1")
    )
    message = Message(
        id="msg_1",
        created_at=1,
        thread_id="thread_1",
        status="completed",
        role="assistant",
        content=[TextPart(text=TextValue(value=earlier.text, annotations=[earlier]))],
    )

    def note(*files: MadeFile) -> Note:
        return Note(arguments="", output="", files=[*files])

    assert made_files([message], {}) == {"my t.csv": "file-1"}
    notes = {"step_1": {"call_1": note(MadeFile("my t.csv", "file-2"), MadeFile("u", "file-u")), "call_2": note()}}
    assert made_files([message], notes) == {"my t.csv": "file-2", "u": "file-u"}
    assert made_files([], {**notes, "step_2": {"call_3": note(MadeFile("u", "file-v"))}})["u"] == "file-v"
