"""Formats that only the optional reader knows: `.doc`, `.xls` and `.ppt` of before 2007."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from understudy.documents.pages import Page, invalid, unsupported

__all__ = ["legacy_pages"]

_TYPES: Final = {
    ".doc": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".ppt": "application/vnd.ms-powerpoint",
}
# Names of streams in the directory, in UTF-16: what a file is, whatever its name.
_STREAMS: Final = (
    ("EncryptedPackage", ""),
    ("WordDocument", ".doc"),
    ("Workbook", ".xls"),
    ("Book", ".xls"),
    ("PowerPoint Document", ".ppt"),
)


def legacy_pages(path: Path) -> Iterator[Page]:
    """Raises `DocumentRefused`, also where the optional reader is not installed."""
    content = path.read_bytes()
    kind = next((kind for name, kind in _STREAMS if name.encode("utf-16-le") in content), None)
    if kind is None:
        raise unsupported("The file could not be parsed: it is no Word, Excel or PowerPoint file of before 2007.")
    if not kind:
        raise invalid("The file could not be parsed: it is protected with a password.")
    try:
        import kreuzberg
    except ImportError as error:
        raise unsupported(
            f"The file could not be parsed: {kind} files need the server's [office] extra; "
            f"saved as {kind}x it can be read."
        ) from error
    try:
        yield Page(kreuzberg.extract_bytes_sync(content, _TYPES[kind]).content)
    except kreuzberg.KreuzbergError as error:
        raise invalid(f"The file could not be parsed: it is damaged, or no {kind} file.") from error
