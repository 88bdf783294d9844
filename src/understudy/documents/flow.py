"""Events of a document's XML -> its paragraphs and tables as lines of text."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from understudy.core.limits import SHEET_GAP_MAX
from understudy.documents.xml_events import START, TEXT, Event, attribute

__all__ = ["Flow", "Markup", "lines", "repeated"]


class Markup(Struct, frozen=True, kw_only=True):
    """What a format calls things. Text is what stands within `texts`, and not within `skipped`.

    `words` stand for a text of their own. `gap` is an element that stands for blanks, with its attribute of how many;
    `repeat` the attribute of how many columns a cell fills.
    """

    texts: frozenset[str]
    paragraphs: frozenset[str]
    cell: str
    row: str
    skipped: frozenset[str]
    words: Mapping[str, str]
    gap: tuple[str, str] = ("", "")
    repeat: str = ""


class Flow:
    """A paragraph has an empty line behind it; a table's rows are lines, its cells parted by tabs."""

    def __init__(self, markup: Markup) -> None:
        self._markup = markup
        self._said: list[str] = []
        self._in_text = 0
        self._skipped = 0
        self._columns: list[int] = []  # of the cells that are open, outermost first

    def take(self, event: Event) -> str:
        """The line that ends here; mostly there is none, and it is empty."""
        kind, name, attributes = event
        if kind == TEXT:
            if self._in_text and not self._skipped:
                self._said.append(name)
        elif name in self._markup.skipped:
            self._skipped += 1 if kind == START else -1
        elif self._skipped:
            pass
        elif kind == START:
            self._start(name, attributes)
        else:
            return self._end(name)
        return ""

    def rest(self) -> str:
        line, self._said = "".join(self._said).strip(), []
        return f"{line}\n\n" if line else ""

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        markup = self._markup
        if name in markup.texts:
            self._in_text += 1
        if name in markup.words:
            self._said.append(markup.words[name])
        elif name == markup.cell:
            self._columns.append(repeated(attribute(attributes, markup.repeat)))
        elif name == markup.gap[0]:
            self._said.append(" " * repeated(attribute(attributes, markup.gap[1])))

    def _end(self, name: str) -> str:
        markup = self._markup
        if name in markup.texts:
            self._in_text -= 1
        if name in markup.paragraphs:
            if not self._columns:
                return self.rest()
            self._said.append(" ")
        elif name == markup.cell:
            self._said.append("\t" * self._columns.pop())
        elif name == markup.row and not self._columns:
            line = "\t".join(" ".join(cell.split()) for cell in "".join(self._said).split("\t")).rstrip()
            self._said = []
            return f"{line}\n" if line else ""
        return ""


def lines(stream: Iterable[Event], markup: Markup) -> Iterator[str]:
    """All lines of a part that is nothing else."""
    flow = Flow(markup)
    for event in stream:
        if line := flow.take(event):
            yield line
    yield flow.rest()


def repeated(count: str) -> int:
    """How often something stands in a row: once if nothing is said, and not so often that it does harm."""
    return min(int(count), SHEET_GAP_MAX) if count.isascii() and count.isdigit() and len(count) < 8 else 1
