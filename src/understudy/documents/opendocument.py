"""Texts, spreadsheets and presentations in the OpenDocument format."""

from collections.abc import Iterator
from typing import Final

from understudy.documents.archive import Archive
from understudy.documents.flow import Flow, Markup
from understudy.documents.pages import Page
from understudy.documents.xml_events import START, attribute, events

__all__ = ["opendocument_pages"]

_MARKUP: Final = Markup(
    texts=frozenset({"p", "h"}),
    paragraphs=frozenset({"p", "h"}),
    cell="table-cell",
    row="table-row",
    skipped=frozenset({"tracked-changes"}),  # what was deleted and is remembered
    words={"tab": "\t", "line-break": "\n"},
    gap=("s", "c"),
    repeat="number-columns-repeated",
)


def opendocument_pages(archive: Archive) -> Iterator[Page]:
    """Slides are pages."""
    flow = Flow(_MARKUP)
    number: int | None = None
    for event in events(archive.pieces("content.xml")):
        if event.kind == START and event.name == "page":
            number = (number or 0) + 1
        if event.kind == START and event.name == "table":
            yield Page(f"{attribute(event.attributes, 'name')}\n", number)
        if line := flow.take(event):
            yield Page(line, number)
    yield Page(flow.rest(), number)
