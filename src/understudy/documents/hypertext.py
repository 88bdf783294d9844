"""HTML -> the text that a reader sees, block by block."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Final

from understudy.documents.pages import Page
from understudy.documents.plain import decoded

__all__ = ["html_pages"]

_HIDDEN: Final = frozenset({"script", "style", "template", "noscript", "svg"})
_BLOCK_TAGS: Final = """
address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer
form frameset h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol optgroup option p section select summary table
tbody textarea tfoot thead title tr ul
"""
_BLOCKS: Final = frozenset(_BLOCK_TAGS.split())
_APART: Final = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "section", "title"}
)
_BLANKS: Final = re.compile(r"[ \t\r\n\f]+")
_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]{2,40})", re.IGNORECASE)
_HEAD_BYTES: Final = 2_048


def html_pages(content: bytes) -> Iterator[Page]:
    """Raises `DocumentRefused`: these bytes are no text."""
    text = _text(content)
    reader = _Reader()
    reader.feed(text)
    reader.close()
    yield Page(reader.finished())


def _text(content: bytes) -> str:
    """By the encoding that the page names, if it is right."""
    if named := _CHARSET.search(content[:_HEAD_BYTES]):
        try:
            return content.decode(named[1].decode("ascii"))
        except (LookupError, UnicodeError):
            pass
    return decoded(content)


class _Reader(HTMLParser):
    """White space is folded as browsers do, apart from `<pre>`; cells of a row are parted by tabs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._hidden: list[str] = []
        self._preformatted = 0

    def finished(self) -> str:
        return "".join(self._parts).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag == "br":
            self._parts.append("\n")
        elif tag == "pre":
            self._preformatted += 1
            self._break(2)
        elif tag in {"td", "th"}:
            if self._parts and not self._parts[-1].endswith("\n"):
                self._parts.append("\t")
        elif tag in _BLOCKS:
            self._break(2 if tag in _APART else 1)
        elif tag == "img" and (described := dict(attrs).get("alt")):
            self.handle_data(described)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _HIDDEN:  # what ends at once hides nothing
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            if tag in self._hidden:
                del self._hidden[self._hidden.index(tag) :]
        elif tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)
            self._break(2)
        elif tag in _BLOCKS:
            self._break(2 if tag in _APART else 1)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if not self._preformatted:
            data = _BLANKS.sub(" ", data)
            if not self._parts or self._parts[-1][-1:] in " \n\t":
                data = data.removeprefix(" ")
        if data:
            self._parts.append(data)

    def _break(self, lines: int) -> None:
        """At least that many line ends from here on, unless nothing was said yet."""
        if not self._parts:
            return
        while self._parts and not (last := self._parts[-1].rstrip(" \t")):
            self._parts.pop()
        if not self._parts:
            return
        self._parts[-1] = last
        ends = "".join(self._parts[-2:])
        missing = lines - (len(ends) - len(ends.rstrip("\n")))
        if missing > 0:
            self._parts.append("\n" * missing)
