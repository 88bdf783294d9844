"""What kind of file it is, by its content first and its name second: a PDF that is named `.txt` is a PDF."""

import re
from pathlib import Path
from typing import Final, Literal, TypeAlias

from understudy.core.limits import DOCUMENT_HEAD_BYTES
from understudy.documents.archive import open_archive
from understudy.documents.ooxml import Package
from understudy.documents.pages import EMPTY, invalid, unsupported
from understudy.documents.plain import looks_binary

__all__ = ["Kind", "kind_of", "suffix_of"]

Kind: TypeAlias = Literal["text", "html", "pdf", "docx", "pptx", "xlsx", "opendocument", "epub", "rtf", "ole"]

# Formats that are named in a refusal, since people attach them. Never text, whatever the name.
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG images"),
    (b"\xff\xd8\xff", "JPEG images"),
    (b"GIF87a", "GIF images"),
    (b"GIF89a", "GIF images"),
    (b"BM", "BMP images"),
    (b"II*\0", "TIFF images"),
    (b"MM\0*", "TIFF images"),
    (b"ID3", "MP3 recordings"),
    (b"OggS", "Ogg recordings"),
    (b"fLaC", "FLAC recordings"),
    (b"\x1f\x8b", "gzip archives"),
    (b"BZh", "bzip2 archives"),
    (b"\xfd7zXZ\0", "xz archives"),
    (b"7z\xbc\xaf\x27\x1c", "7z archives"),
    (b"Rar!\x1a\x07", "RAR archives"),
    (b"\x28\xb5\x2f\xfd", "zstd archives"),
    (b"\x7fELF", "programs"),
    (b"MZ", "programs"),
    (b"\xca\xfe\xba\xbe", "programs"),
    (b"SQLite format 3\0", "databases"),
    (b"PAR1", "Parquet files"),
)
# Where the telling bytes are not the first.
_LATER_SIGNATURES: Final = (
    (257, b"ustar", "tar archives"),
    (8, b"WAVE", "WAV recordings"),
    (8, b"WEBP", "WebP images"),
    (8, b"AVI ", "AVI videos"),
    (4, b"ftyp", "videos and recordings"),
)

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# In the type of a package's main part; the second of each is of files with macros.
_MAIN_PARTS: Final[tuple[tuple[str, Kind], ...]] = (
    ("wordprocessingml.", "docx"),
    ("ms-word.", "docx"),
    ("presentationml.", "pptx"),
    ("ms-powerpoint.", "pptx"),
    ("spreadsheetml.", "xlsx"),
    ("ms-excel.sheet.macro", "xlsx"),
)
_HTML: Final = frozenset({".html", ".htm", ".xhtml"})
_HTML_START: Final = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html[\s>])", re.IGNORECASE)
# Names under which text is expected to be no text: then the file is broken rather than of an unknown kind.
_DOCUMENTS: Final = frozenset(
    {".pdf", ".docx", ".doc", ".pptx", ".ppt", ".xlsx", ".xls", ".odt", ".ods", ".odp", ".epub", ".rtf"}
)


def suffix_of(file_name: str) -> str:
    """The last extension in lower case, with its dot; empty for a name that has none."""
    return Path(file_name.replace("\\", "/").rsplit("/", 1)[-1].strip()).suffix.lower()[:16]


def kind_of(path: Path, file_name: str, mime_type: str) -> Kind:
    """Raises `DocumentRefused` for an empty file, and for kinds that are not read."""
    with path.open("rb") as file:
        head = file.read(DOCUMENT_HEAD_BYTES)
    if not head:
        raise invalid(EMPTY)
    suffix = suffix_of(file_name)
    if kind := _by_content(head, path, suffix):
        return kind
    if suffix in _HTML or (suffix == "" and mime_type.startswith("text/html")):
        return "html"
    if suffix == "" and _HTML_START.match(head):
        return "html"
    if suffix in _DOCUMENTS and looks_binary(head):
        raise invalid(f"The file could not be parsed: it is damaged, or not of the kind that {suffix} says.")
    return "text"


def _by_content(head: bytes, path: Path, suffix: str) -> Kind | None:
    start = head.lstrip(b"\xef\xbb\xbf\0 \t\r\n")
    # The standard lets a PDF begin within the first kilobyte.
    if start.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in head[:1024]):
        return "pdf"
    if head.startswith(_ZIP):
        return _zipped(path)
    if head.startswith(_OLE):
        return "ole"
    if start.startswith(b"{\\rtf"):
        return "rtf"
    if what := _known_binary(head):
        raise unsupported(f"The file could not be parsed: {what} are not supported for retrieval.")
    return None


def _known_binary(head: bytes) -> str | None:
    if not looks_binary(head):
        return None  # a text may begin with "BM"
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            return what
    return next((what for at, signature, what in _LATER_SIGNATURES if head.startswith(signature, at)), None)


def _zipped(path: Path) -> Kind:
    with open_archive(path) as archive:
        names = archive.names
        if "mimetype" in names:
            declared = archive.read("mimetype", 256).decode("ascii", "replace").strip()
            if declared == "application/epub+zip":
                return "epub"
            if declared.startswith("application/vnd.oasis.opendocument."):
                return "opendocument"
        if "[Content_Types].xml" in names:
            types = Package(archive).types.values()
            for name, kind in _MAIN_PARTS:
                if any(name in type_ and type_.endswith("main+xml") for type_ in types):
                    return kind
    raise unsupported("The file could not be parsed: archives are not supported for retrieval; upload the files in it.")
