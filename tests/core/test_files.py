"""What a file is called and said to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.files import attachment, base_name, extension, image_type, plain_mime_type, served_type


@given(st.text(max_size=40))
def test_a_base_name_is_no_path_for_any_name(filename: str) -> None:
    name = base_name(filename)
    assert name
    assert name not in (".", "..")
    assert not set(name) & {"/", "\\", "\0", "\n", "\r"}
    assert base_name(name) == name


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.txt", "a.txt"),
        ("dir/a.txt", "a.txt"),
        ("C:\\dir\\a.txt", "a.txt"),
        ("../..", "file"),
        ("dir/", "dir"),
        ("", "file"),
        (" ", "file"),
        ("...", "file"),
        ("a\nb", "a_b"),
        ("é名.txt", "é名.txt"),
        ("a\u202egnp.exe", "a_gnp.exe"),
    ],
)
def test_a_base_name_is_the_last_piece_of_a_name(filename: str, name: str) -> None:
    assert base_name(filename) == name


@given(st.text(max_size=40))
def test_a_disposition_is_one_line_of_ascii_for_any_name(filename: str) -> None:
    shown = attachment(filename)
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.count('"') == 2


@pytest.mark.parametrize(("filename", "found"), [("a.TXT", "txt"), ("a.tar.gz", "gz"), ("a", ""), (".env", "env")])
def test_an_extension_is_what_stands_behind_the_last_dot(filename: str, found: str) -> None:
    assert extension(filename) == found


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        ("text/plain; charset=utf-8", "text/plain"),
        (" IMAGE/PNG ", "image/png"),
        ("text", ""),
        ("text/", ""),
        ("text/plain\r\nx: y", ""),
        ("é/é", ""),
        ("a" * 200 + "/b", ""),
        ("", ""),
    ],
)
def test_a_type_is_plain_or_none(content_type: str, found: str) -> None:
    assert plain_mime_type(content_type) == found


def test_a_type_that_the_client_gave_goes_before_the_names() -> None:
    assert served_type("a.txt", "image/png") == "image/png"
    assert served_type("a.txt", "text/html") == "text/plain"
    assert served_type("a.html", "text/html") == "application/octet-stream"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"\x89PNG", None),
        (b"%PDF-1.7", None),
        (b"<svg>", None),
        (b"", None),
    ],
)
def test_an_image_is_known_by_its_beginning(head: bytes, found: str | None) -> None:
    assert image_type(head) == found
