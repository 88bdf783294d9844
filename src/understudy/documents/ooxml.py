"""Word documents and presentations in the office formats since 2007; spreadsheets are in `spreadsheet.py`."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from understudy.documents.archive import Archive
from understudy.documents.flow import Markup, lines
from understudy.documents.pages import Page, invalid
from understudy.documents.xml_events import START, Event, attribute, events

__all__ = ["Package", "Relation", "docx_pages", "pptx_pages"]

_TYPES: Final = "[Content_Types].xml"
# What stands beside a document's text, behind it.
_BESIDE: Final = ("footnotes+xml", "endnotes+xml", "header+xml", "footer+xml")
_MARKUP: Final = Markup(
    texts=frozenset({"t"}),
    paragraphs=frozenset({"p"}),
    cell="tc",
    row="tr",
    # An alternative for older programs, which says the same again; settings, where a tab is a tab stop.
    skipped=frozenset({"Fallback", "pPr", "rPr"}),
    words={"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"},
)


class Relation(Struct, frozen=True):
    """`type` is the end of its URL, as in `notesSlide`. `part` is a name in the archive."""

    type: str
    part: str


class Package:
    """An archive whose parts have types and relations."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.types = self._read_types()

    def parts(self, type_end: str) -> Sequence[str]:
        """The parts of a type, by name."""
        return sorted(part for part, type_ in self.types.items() if type_.endswith(type_end))

    def main(self, *type_ends: str) -> str:
        """The one part that everything hangs on. Raises `DocumentRefused` without one."""
        found = [part for end in type_ends for part in self.parts(end)]
        if not found:
            raise invalid("The file could not be parsed: its main part is missing.")
        return found[0]

    def relations(self, part: str) -> Mapping[str, Relation]:
        """By their ids; none for a part that has none."""
        folder, name = posixpath.split(part)
        file = posixpath.join(folder, "_rels", f"{name}.rels")
        if file not in self._archive.names:
            return {}
        return {
            attribute(event.attributes, "Id"): Relation(
                attribute(event.attributes, "Type").rpartition("/")[2],
                posixpath.normpath(posixpath.join("/", folder, attribute(event.attributes, "Target"))).lstrip("/"),
            )
            for event in self.events(file)
            if event.kind == START and event.name == "Relationship"
        }

    def events(self, part: str) -> Iterator[Event]:
        return events(self._archive.pieces(part))

    def _read_types(self) -> Mapping[str, str]:
        return {
            attribute(event.attributes, "PartName").lstrip("/"): attribute(event.attributes, "ContentType")
            for event in self.events(_TYPES)
            if event.kind == START and event.name == "Override"
        }


def docx_pages(archive: Archive) -> Iterator[Page]:
    package = Package(archive)
    # The two middle ones are of documents with macros, and of templates.
    main = package.main(
        "wordprocessingml.document.main+xml",
        "ms-word.document.macroEnabled.main+xml",
        "wordprocessingml.template.main+xml",
        "ms-word.template.macroEnabledTemplate.main+xml",
    )
    for part in [main, *(part for end in _BESIDE for part in package.parts(end))]:
        yield from map(Page, lines(package.events(part), _MARKUP))


def pptx_pages(archive: Archive) -> Iterator[Page]:
    """Slides are pages; a slide's notes stand behind it."""
    package = Package(archive)
    main = package.main(
        "presentationml.presentation.main+xml",
        "presentationml.slideshow.main+xml",
        "presentationml.template.main+xml",
        "ms-powerpoint.presentation.macroEnabled.main+xml",
    )
    relations = package.relations(main)
    shown = [
        # The slide has an id of its own beside that of its relation.
        next((value for key, value in event.attributes.items() if key.endswith(" id")), "")
        for event in package.events(main)
        if event.kind == START and event.name == "sldId"
    ]
    for number, slide in enumerate((relations[id_].part for id_ in shown if id_ in relations), 1):
        notes = [one.part for one in package.relations(slide).values() if one.type == "notesSlide"]
        for part in [slide, *notes]:
            for paragraph in lines(package.events(part), _MARKUP):
                yield Page(paragraph, number)
