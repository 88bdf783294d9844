"""Names of clients' files under /mnt/data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.limits import CODE_NAME_BYTES_MAX
from understudy.ports import StoredFile
from understudy.tools.code_files import named
from understudy.wire.files import File


def stored(filename: str, number: int = 0) -> StoredFile:
    file = File(id=f"file-{number}", bytes=1, created_at=1, filename=filename, purpose="assistants")
    return StoredFile(file=file, blob=f"blob-{number}")


def names(*filenames: str) -> list[str]:
    return [one.name for one in named(stored(filename, number) for number, filename in enumerate(filenames))]


@pytest.mark.parametrize(
    ("filenames", "wanted"),
    [
        (("a.txt", "a.txt", "a.txt"), ["a.txt", "a_2.txt", "a_3.txt"]),
        (("a_2.txt", "a.txt", "a.txt"), ["a_2.txt", "a.txt", "a_3.txt"]),
        (("a", "a", ".b", ".b"), ["a", "a_2", ".b", ".b_2"]),
        (("../../etc/passwd", "C:\\x\\y.csv", "..", ""), ["passwd", "y.csv", "file", "file_2"]),
        (("a\nb\0.txt",), ["a_b_.txt"]),
    ],
)
def test_each_file_has_a_plain_name_of_its_own(filenames: tuple[str, ...], wanted: list[str]) -> None:
    assert names(*filenames) == wanted


@given(st.lists(st.text(), max_size=8))
def test_any_name_becomes_one_that_a_file_system_takes(filenames: list[str]) -> None:
    given_names = names(*filenames)
    assert len(set(given_names)) == len(filenames)
    for name in given_names:
        assert name not in ("", ".", "..")
        assert "/" not in name
        assert name.isprintable()
        assert len(name.encode()) <= CODE_NAME_BYTES_MAX + 10
