"""Zipped documents, opened only if what they say of themselves fits the limits, and read in pieces."""

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from understudy.core.limits import (
    DOCUMENT_PARTS_MAX,
    DOCUMENT_UNZIPPED_BYTES_MAX,
    DOCUMENT_UNZIPPED_RATIO_MAX,
)
from understudy.documents.pages import invalid, megabytes

__all__ = ["Archive", "open_archive"]

_PIECE_BYTES: Final = 65_536
_ENCRYPTED: Final = 0x1
_DAMAGED: Final = "The file could not be parsed: its zip archive is damaged."


class Archive:
    """Names are the archive's own: nothing is ever written under them."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.names = frozenset(file.namelist())

    def pieces(self, name: str) -> Iterator[bytes]:
        """A part's content. Raises `DocumentRefused`: there is none of this name, or it is damaged."""
        try:
            # Never more is read than the part said that it would be.
            with self._file.open(name) as part:
                while piece := part.read(_PIECE_BYTES):
                    yield piece
        except KeyError as error:
            raise invalid("The file could not be parsed: a part of it is missing.") from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise invalid(_DAMAGED) from error
        except NotImplementedError as error:
            raise invalid("The file could not be parsed: it is zipped in an unusual way.") from error

    def read(self, name: str, at_most: int) -> bytes:
        """The beginning of a part's content."""
        content = b""
        for piece in self.pieces(name):
            content += piece
            if len(content) >= at_most:
                break
        return content[:at_most]


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Raises `DocumentRefused` for one that is damaged, encrypted, or becomes too much."""
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ValueError) as error:
        raise invalid(_DAMAGED) from error
    with file:
        _check(file.infolist())
        yield Archive(file)


def _check(parts: list[zipfile.ZipInfo]) -> None:
    if len(parts) > DOCUMENT_PARTS_MAX:
        raise invalid(f"The file could not be parsed: it consists of more than {DOCUMENT_PARTS_MAX} parts.")
    if any(part.flag_bits & _ENCRYPTED for part in parts):
        raise invalid("The file could not be parsed: it is protected with a password.")
    unzipped = sum(part.file_size for part in parts)
    if unzipped > DOCUMENT_UNZIPPED_BYTES_MAX:
        limit = megabytes(DOCUMENT_UNZIPPED_BYTES_MAX)
        raise invalid(f"The file could not be parsed: unzipped, it would be larger than {limit}.")
    if unzipped > DOCUMENT_UNZIPPED_RATIO_MAX * max(1, sum(part.compress_size for part in parts)):
        ratio = DOCUMENT_UNZIPPED_RATIO_MAX
        raise invalid(f"The file could not be parsed: unzipped, it would be more than {ratio} times as large.")
