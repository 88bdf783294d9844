"""Electronic books: their chapters are HTML, in the order of the book's spine."""

import posixpath
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from understudy.core.limits import DOCUMENT_TEXT_BYTES_MAX
from understudy.documents.archive import Archive
from understudy.documents.hypertext import html_pages
from understudy.documents.pages import Page, invalid
from understudy.documents.xml_events import START, attribute, events

__all__ = ["epub_pages"]

_CONTAINER: Final = "META-INF/container.xml"


def epub_pages(archive: Archive) -> Iterator[Page]:
    if "META-INF/encryption.xml" in archive.names and b"aes" in archive.read("META-INF/encryption.xml", 65_536).lower():
        raise invalid("The file could not be parsed: it is encrypted.")
    for chapter in _chapters(archive):
        if chapter in archive.names:
            for page in html_pages(archive.read(chapter, DOCUMENT_TEXT_BYTES_MAX)):
                yield Page(f"{page.text}\n\n")


def _chapters(archive: Archive) -> Iterator[str]:
    package = next(
        (
            attribute(event.attributes, "full-path")
            for event in events(archive.pieces(_CONTAINER))
            if event.kind == START and event.name == "rootfile"
        ),
        "",
    )
    folder = posixpath.dirname(package)
    items: dict[str, str] = {}
    for kind, name, attributes in events(archive.pieces(package)):
        if kind != START:
            continue
        if name == "item" and "html" in attribute(attributes, "media-type"):
            items[attribute(attributes, "id")] = unquote(attribute(attributes, "href"))
        elif name == "itemref" and (href := items.get(attribute(attributes, "idref"))):
            yield posixpath.normpath(posixpath.join(folder, href))
