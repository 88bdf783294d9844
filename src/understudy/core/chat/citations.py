"""What a model writes of citations -> markers in one form, each with its annotation, while the text still streams.

The model is asked to write `【m:n†source】` and writes `[4:0†report.pdf]`, `【1】`, `[1]` or a marker without its end.
All of them become `【m:n†source】`. What surely is a marker and points nowhere is left out. What may mean something
else, such as `[1]`, is a marker only where there is such a passage, outside of code and of links.
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import UNSET, Struct

from understudy.core.limits import MARKER_LABEL_LENGTH_MAX, QUOTE_LENGTH_MAX
from understudy.core.run.state import Note, Source
from understudy.wire.messages import Annotation, FileCitation, FileCitationTarget

_OPENING: Final = re.compile(r"[【\[]")
_HEAD: Final = re.compile(r"[【\[] {0,2}([0-9]{1,6})(?: {0,2}: {0,2}([0-9]{1,6}))? {0,2}")
# What is read on for: nothing else can still become a head.
_HEAD_BEGUN: Final = re.compile(r"[【\[] {0,2}(?:[0-9]{1,6} {0,2}(?:: {0,2}(?:[0-9]{1,6} {0,2})?)?)?")
_LABEL: Final = re.compile(rf"[^】\]【\[\n]{{0,{MARKER_LABEL_LENGTH_MAX}}}")
_DAGGER: Final = "†"
_CLOSING: Final = ("】", "]")
_LABEL_ASKED_FOR: Final = "source"


def marker(turn: int, number: int) -> str:
    """How a passage is cited."""
    return f"【{turn}:{number}{_DAGGER}{_LABEL_ASKED_FOR}】"


class Cited(Struct, frozen=True):
    """A piece of the text as it is shown, and annotations of its markers; indexes are those of the whole text."""

    value: str
    annotations: tuple[Annotation, ...] = ()


class Citable:
    """The passages that a run's model was shown, by the numbers under which it was shown them."""

    def __init__(self, notes: Iterable[Note] = (), *, details: bool = False) -> None:
        """`details`: annotations also carry the quote, its page and the file's name."""
        self._details = details
        self._sources: dict[tuple[int, int], tuple[Note, Source]] = {}
        self._newest: dict[int, int] = {}  # the newest turn that showed a passage under a number
        for note in notes:
            for number, source in enumerate(note.sources, note.first):
                self._sources[note.turn, number] = note, source
                self._newest[number] = max(note.turn, self._newest.get(number, 0))

    def turn_of(self, number: int) -> int | None:
        """The turn that a number without one means."""
        return self._newest.get(number)

    def file_name(self, turn: int, number: int) -> str | None:
        """`None`: there is no such passage."""
        found = self._sources.get((turn, number))
        return None if found is None else found[1].file_name

    def annotation(self, turn: int, number: int, start: int) -> FileCitation:
        """Of a marker that stands there."""
        note, source = self._sources[turn, number]
        target = FileCitationTarget(file_id=source.file_id)
        if self._details:
            target = FileCitationTarget(
                file_id=source.file_id,
                quote=note.output[source.start : source.end][:QUOTE_LENGTH_MAX],
                page=UNSET if source.page is None else source.page,
                filename=source.file_name,
            )
        text = marker(turn, number)
        return FileCitation(text=text, start_index=start, end_index=start + len(text), file_citation=target)


class Citations:
    """One text on its way to its readers. However it is cut into pieces, what comes out is the same.

    Text without brackets passes at once. Behind an opening bracket no more is held back than a marker is long.
    """

    def __init__(self, citable: Citable) -> None:
        self._citable = citable
        self._held = ""
        self._length = 0
        self._last = ""
        self._code = _Code()
        self._values: list[str] = []
        self._annotations: list[FileCitation] = []

    def feed(self, text: str) -> Cited:
        if not self._held and "[" not in text and "【" not in text:
            self._pass(text)
        else:
            self._read(self._held + text, ended=False)
        return self._taken()

    def finish(self) -> Cited:
        """What was held back. No text follows."""
        self._read(self._held, ended=True)
        return self._taken()

    def _taken(self) -> Cited:
        cited = Cited("".join(self._values), tuple(self._annotations))
        self._values.clear()
        self._annotations.clear()
        return cited

    def _pass(self, text: str) -> None:
        if text:
            self._values.append(text)
            self._code.add(text)
            self._length += len(text)
            self._last = text[-1]

    def _read(self, text: str, *, ended: bool) -> None:
        self._held = ""
        at = 0
        while (opening := _OPENING.search(text, at)) is not None:
            self._pass(text[at : opening.start()])
            at = opening.start()
            found = self._find(text, at, ended=ended)
            if found is None:
                self._held = text[at:]
                return
            at = self._take(text, at, found)
        self._pass(text[at:])

    def _find(self, text: str, start: int, *, ended: bool) -> "_Found | None":
        """What begins with this bracket; `None` while that cannot be said yet."""
        head = _HEAD.match(text, start)
        if not ended and _HEAD_BEGUN.fullmatch(text, start):
            return None
        if head is None:
            return _NOTHING
        if head[2] is None:
            found = _Found(number=int(head[1]), end=head.end(1))
        else:
            found = _Found(turn=int(head[1]), number=int(head[2]), end=head.end(2))
        wide = text[start] == "【"
        following = text[head.end() : head.end() + 1]
        if following in _CLOSING:
            return self._closed(text, found, head.end() + 1, wide=wide, ended=ended)
        if following == _DAGGER or (wide and found.turn is not None and not following.isdecimal()):
            return self._labelled(text, found, head.end(), ended=ended)
        return _NOTHING

    def _closed(self, text: str, found: "_Found", end: int, *, wide: bool, ended: bool) -> "_Found | None":
        if wide:
            return _Found(turn=found.turn, number=found.number, end=end, sure=found.turn is not None)
        following = text[end : end + 1]
        if not following and not ended:
            return None
        is_definition = following == ":" and self._last in ("", "\n")
        if following == "(" or is_definition or self._last in ("]", "\\"):
            return _NOTHING  # a link, its definition, or mathematics
        return _Found(turn=found.turn, number=found.number, end=end)

    def _labelled(self, text: str, found: "_Found", label_start: int, *, ended: bool) -> "_Found | None":
        """A marker with something behind its numbers, to its closing bracket if it has one."""
        label = _LABEL.match(text, label_start)
        assert label is not None
        end = label.end()
        if text[end : end + 1] in _CLOSING:
            end += 1
        elif end == len(text) and len(label[0]) < MARKER_LABEL_LENGTH_MAX and not ended:
            return None
        elif label[0].startswith(_DAGGER):
            end = label_start + 1 + self._label_length(found, label[0][1:])
        else:
            end = found.end
        return _Found(turn=found.turn, number=found.number, end=end, sure=True)

    def _label_length(self, found: "_Found", label: str) -> int:
        """How much of the text behind the dagger belongs to a marker without its end."""
        turn = self._citable.turn_of(found.number) if found.turn is None else found.turn
        name = None if turn is None else self._citable.file_name(turn, found.number)
        for known in (_LABEL_ASKED_FOR, name):
            if known and label.startswith(known):
                return len(known)
        word = re.match(r"\S*", label)
        assert word is not None
        return len(word[0].rstrip(".,;:!?)"))

    def _take(self, text: str, start: int, found: "_Found") -> int:
        """Shows what was found; where to read on."""
        turn = self._citable.turn_of(found.number) if found.turn is None else found.turn
        if turn is not None and self._citable.file_name(turn, found.number) is not None:
            if found.sure or (found.end and not self._code.is_open()):
                self._annotations.append(self._citable.annotation(turn, found.number, self._length))
                self._pass(marker(turn, found.number))
                return found.end
        elif found.sure:
            return found.end
        self._pass(text[start])
        return start + 1


class _Found(Struct, frozen=True, kw_only=True):
    """A marker that ends before `end`. Unless it is `sure`, it may mean something else. No `end`: there is none."""

    turn: int | None = None
    number: int = -1
    end: int = 0
    sure: bool = False


_NOTHING: Final = _Found()


class _Code:
    """Whether the end of a text is inside of Markdown's code. Looked at only when somebody asks, and then once."""

    _TICKS: Final = re.compile(r"`+|\n[ \t]*\n")

    def __init__(self) -> None:
        self._unread: list[str] = []
        self._ticks = 0  # that the open code began with
        self._fenced = False

    def add(self, text: str) -> None:
        self._unread.append(text)

    def is_open(self) -> bool:
        """To be asked before a bracket, so that no run of ticks is ever cut in two."""
        text = "".join(self._unread)
        self._unread.clear()
        for found in self._TICKS.finditer(text):
            if found[0][0] == "\n":
                self._ticks = self._ticks if self._fenced else 0  # a paragraph's end
                continue
            ticks = len(found[0])
            begins_line = not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip(" \t>")
            if self._ticks == 0:
                self._ticks, self._fenced = ticks, ticks >= 3 and begins_line
            elif (begins_line and ticks >= self._ticks) if self._fenced else ticks == self._ticks:
                self._ticks, self._fenced = 0, False
        return self._ticks > 0
