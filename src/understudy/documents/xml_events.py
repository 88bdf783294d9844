"""XML as a stream of events, without entities of its own and without a tree: memory does not grow with the file."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from xml.parsers import expat

from understudy.core.limits import DOCUMENT_DEPTH_MAX
from understudy.documents.pages import invalid

__all__ = ["END", "START", "TEXT", "Event", "attribute", "events"]

START: Final = 0
END: Final = 1
TEXT: Final = 2
_NONE: Final[Mapping[str, str]] = {}


class Event(NamedTuple):
    """`name` is an element's name without its namespace, or the text. Attributes have theirs before a space."""

    kind: int
    name: str
    attributes: Mapping[str, str]


def attribute(attributes: Mapping[str, str], name: str) -> str:
    """The value of the attribute, whatever its namespace; empty if there is none."""
    if name in attributes:
        return attributes[name]
    return next((value for key, value in attributes.items() if key.endswith(f" {name}")), "")


def events(pieces: Iterable[bytes]) -> Iterator[Event]:
    """Raises `DocumentRefused` for XML that is not well-formed, nests too deeply, or declares entities."""
    reader = _Reader()
    for piece in pieces:
        yield from reader.feed(piece, last=False)
    yield from reader.feed(b"", last=True)


class _Reader:
    def __init__(self) -> None:
        self._seen: list[Event] = []
        self._depth = 0
        self._local: dict[str, str] = {}
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.EntityDeclHandler = self._entity
        self._parser = parser

    def feed(self, piece: bytes, *, last: bool) -> list[Event]:
        try:
            self._parser.Parse(piece, last)
        except expat.ExpatError as error:
            raise invalid("The file could not be parsed: its XML is damaged.") from error
        seen, self._seen = self._seen, []
        return seen

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DOCUMENT_DEPTH_MAX:
            raise invalid(f"The file could not be parsed: its XML is nested more than {DOCUMENT_DEPTH_MAX} deep.")
        self._seen.append(Event(START, self._name(name), attributes))

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._seen.append(Event(END, self._name(name), _NONE))

    def _text(self, text: str) -> None:
        self._seen.append(Event(TEXT, text, _NONE))

    def _entity(self, *_: object) -> None:
        raise invalid("The file could not be parsed: its XML declares entities.")

    def _name(self, name: str) -> str:
        return name.rpartition(" ")[2]
