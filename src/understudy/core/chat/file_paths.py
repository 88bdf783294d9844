"""`sandbox:/mnt/data/NAME` in what a model writes -> annotations that name the file, while the text still streams.

The text stays as it is, so nothing of it is held back: an annotation may come with a later piece than its text.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from understudy.core.chat.citations import Citable, Citations, Cited
from understudy.wire.messages import Annotation, FilePath, FilePathTarget

PREFIX: Final = "sandbox:/mnt/data/"
# What a name may go on with: behind a dot or a dash only if something follows that does not end a sentence.
_JOINTS: Final = frozenset(".-/")


class Annotator:
    """Citations and file paths of one text. However it is cut into pieces, the same text and annotations come out."""

    def __init__(self, citable: Citable | None, made: Mapping[str, str]) -> None:
        """`made`: the ids of files by their paths below `/mnt/data`."""
        self._citations = None if citable is None else Citations(citable)
        self._paths = FilePaths(made) if made else None

    def feed(self, text: str) -> Cited:
        return self._with_paths(Cited(text) if self._citations is None else self._citations.feed(text))

    def finish(self) -> Cited:
        """What was held back. No text follows."""
        cited = self._with_paths(Cited("") if self._citations is None else self._citations.finish())
        if self._paths is None:
            return cited
        return Cited(cited.value, (*cited.annotations, *self._paths.finish()))

    def _with_paths(self, cited: Cited) -> Cited:
        if self._paths is None or not cited.value:
            return cited
        both: list[Annotation] = [*cited.annotations, *self._paths.feed(cited.value)]
        return Cited(cited.value, tuple(sorted(both, key=lambda one: one.start_index)))


class FilePaths:
    """Finds the paths in one text. Remembers no more of it than a path is long."""

    def __init__(self, made: Mapping[str, str]) -> None:
        """`made`: the ids of files by their paths below `/mnt/data`. In links they may be percent-encoded."""
        self._forms: dict[str, str] = {}
        for name, file_id in made.items():
            for form in (quote(name, safe="/()"), quote(name), name.replace(" ", "%20")):
                self._forms.setdefault(form, file_id)
        self._forms.update(made)
        self._lengths = sorted({len(form) for form in self._forms}, reverse=True)
        self._unread = ""
        self._start = 0  # of what is unread, in the whole text

    def feed(self, text: str) -> list[FilePath]:
        """The paths that are complete now."""
        return self._read(self._unread + text, ended=False)

    def finish(self) -> list[FilePath]:
        """The one that the text ends with. No text follows."""
        return self._read(self._unread, ended=True)

    def _read(self, text: str, *, ended: bool) -> list[FilePath]:
        found: list[FilePath] = []
        at = 0
        while (begun := text.find(PREFIX, at)) >= 0:
            name_at = begun + len(PREFIX)
            if not ended and self._may_go_on(text[name_at : name_at + self._lengths[0] + 2]):
                self._keep(text, begun)
                return found
            name = self._name(text, name_at)
            at = name_at + len(name)
            if name:
                found.append(
                    FilePath(
                        text=text[begun:at],
                        start_index=self._start + begun,
                        end_index=self._start + at,
                        file_path=FilePathTarget(file_id=self._forms[name]),
                    )
                )
        self._keep(text, max(at, len(text) - len(PREFIX) + 1))
        return found

    def _keep(self, text: str, begin: int) -> None:
        begin = min(begin, len(text))
        self._start += begin
        self._unread = text[begin:]

    def _may_go_on(self, rest: str) -> bool:
        """Whether more text could change which name this begins with."""
        if len(rest) > self._lengths[0] + 1:
            return False
        return any(
            form.startswith(rest) or (rest.startswith(form) and len(rest) < len(form) + 2) for form in self._forms
        )

    def _name(self, text: str, at: int) -> str:
        """The longest known name that stands there, and does not go on as another; "" for none."""
        for length in self._lengths:
            name = text[at : at + length]
            if name in self._forms and not _goes_on(text[at + length : at + length + 2]):
                return name
        return ""


def _goes_on(following: str) -> bool:
    """Whether what follows a name belongs to a longer one."""
    if following[:1] in _JOINTS:
        following = following[1:]
    return following[:1].isalnum() or following[:1] in ("_", "%")
