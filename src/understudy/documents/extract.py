"""A file -> its text, by the reader for its kind. Raises `DocumentRefused` with a sentence for the client."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from understudy.documents.archive import Archive, open_archive
from understudy.documents.epub import epub_pages
from understudy.documents.hypertext import html_pages
from understudy.documents.kinds import Kind, kind_of
from understudy.documents.legacy import legacy_pages
from understudy.documents.ooxml import docx_pages, pptx_pages
from understudy.documents.opendocument import opendocument_pages
from understudy.documents.pages import EMPTY, Page, bounded, invalid, megabytes
from understudy.documents.plain import text_pages
from understudy.documents.rich_text import rtf_pages
from understudy.documents.spreadsheet import xlsx_pages

__all__ = ["import_pdf", "pages"]

OfArchive: TypeAlias = Callable[[Archive], Iterator[Page]]
OfContent: TypeAlias = Callable[[bytes], Iterator[Page]]

_ARCHIVES: Final[Mapping[Kind, OfArchive]] = {
    "docx": docx_pages,
    "pptx": pptx_pages,
    "xlsx": xlsx_pages,
    "opendocument": opendocument_pages,
    "epub": epub_pages,
}
_CONTENTS: Final[Mapping[Kind, OfContent]] = {"text": text_pages, "html": html_pages, "rtf": rtf_pages}


def pages(path: Path, file_name: str, mime_type: str, *, text_bytes: int) -> Iterator[Page]:
    """The text in pieces, at most `text_bytes` of it, and not blank. It is free of null characters and surrogates."""
    kind = kind_of(path, file_name, mime_type)
    blank = True
    for page in bounded(_pages(kind, path, text_bytes), text_bytes):
        blank = blank and page.text.isspace()
        yield page
    if blank:
        raise invalid(EMPTY)


def _pages(kind: Kind, path: Path, text_bytes: int) -> Iterator[Page]:
    if kind == "pdf":
        yield from import_pdf()(path)
    elif kind == "ole":
        yield from legacy_pages(path)
    elif kind in _ARCHIVES:
        with open_archive(path) as archive:
            yield from _ARCHIVES[kind](archive)
    else:
        yield from _CONTENTS[kind](_content(path, text_bytes))


def import_pdf() -> Callable[[Path], Iterator[Page]]:
    """The reader of PDF files. Its library takes a tenth of a second to load, and most files are others."""
    from understudy.documents.pdf import pdf_pages

    return pdf_pages


def _content(path: Path, text_bytes: int) -> bytes:
    """All of a file that is text itself, or nearly."""
    with path.open("rb") as file:
        content = file.read(text_bytes + 1)
    if len(content) > text_bytes:
        raise invalid(f"The file could not be parsed: it holds more than {megabytes(text_bytes)} of text.")
    return content
