"""What every extractor gives, and the refusals that several of them share."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from understudy.core.limits import DOCUMENT_PIECE_CHARACTERS
from understudy.ports import DocumentRefused

__all__ = ["EMPTY", "Page", "bounded", "gibibytes", "invalid", "megabytes", "unsupported"]

EMPTY: Final = "The file could not be parsed because it is empty."  # contract 7.1

# What no database takes as text.
_UNWANTED: Final = {0: "\ufffd"} | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


class Page(NamedTuple):
    """Text in reading order. `number` counts from 1, in files that have pages; several may be of one page."""

    text: str
    number: int | None = None


def invalid(message: str) -> DocumentRefused:
    """The file is broken, or costs more than a file may."""
    return DocumentRefused("invalid_file", message)


def unsupported(message: str) -> DocumentRefused:
    """Nothing here reads files of this kind."""
    return DocumentRefused("unsupported_file", message)


def megabytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"


def gibibytes(count: int) -> str:
    return f"{count / 2**30:.2g} GB"


def bounded(pages: Iterable[Page], text_bytes: int) -> Iterator[Page]:
    """The same text in bounded pieces, free of what no text may hold. Raises `DocumentRefused` for too much of it."""
    left = text_bytes
    for page in pages:
        for start in range(0, len(page.text), DOCUMENT_PIECE_CHARACTERS):
            piece = page.text[start : start + DOCUMENT_PIECE_CHARACTERS]
            # A byte or more each: cheap to know before anything is made of them.
            if len(piece) > left:
                break
            clean = _clean(piece)
            left -= len(clean) if clean.isascii() else len(clean.encode())
            yield page._replace(text=clean)
        else:
            if left >= 0:
                continue
        raise invalid(f"The file could not be parsed: it holds more than {megabytes(text_bytes)} of text.")


def _clean(text: str) -> str:
    if "\0" not in text:
        if text.isascii():
            return text
        with contextlib.suppress(UnicodeEncodeError):
            text.encode()
            return text
    return text.translate(_UNWANTED)
