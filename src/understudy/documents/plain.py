"""Text and source code, in whatever encoding it came."""

import codecs
import contextlib
import re
from collections.abc import Iterator
from typing import Final

from charset_normalizer import from_bytes

from understudy.core.limits import ENCODING_SAMPLE_BYTES
from understudy.documents.pages import Page, unsupported

__all__ = ["decoded", "looks_binary", "text_pages"]

# UTF-32's mark begins with UTF-16's.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Without a mark: which of every four bytes are null in text that is mostly Latin.
_NULL_PATTERNS: Final = (
    ((False, True, True, True), "utf-32-le"),
    ((True, True, True, False), "utf-32-be"),
    ((False, True, False, True), "utf-16-le"),
    ((True, False, True, False), "utf-16-be"),
)
_NO_TEXT: Final = "The file could not be parsed: it is neither text nor a document of a known format."
_MOSTLY: Final = 0.7
_RARELY: Final = 0.1
_DAMAGE_MAX: Final = 0.01  # share of characters that may be broken in what is still UTF-8
_CONTROL_MAX: Final = 0.02  # share of control characters above which bytes are no text
_CONTROLS: Final = bytes([*range(7), *range(14, 27), *range(28, 32), 127])
_CONTROL_CHARACTERS: Final = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffd]")
# What texts that are no Unicode are in, the more common first; the detector knows many that nobody uses.
_CANDIDATES: Final = (
    *("cp1252", "shift_jis", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "euc_kr", "cp1251", "koi8_r"),
    *("cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "iso8859_2", "iso8859_5", "iso8859_7"),
    *("cp866", "cp437", "cp850", "tis_620", "mac_roman"),
)


def text_pages(content: bytes) -> Iterator[Page]:
    """Raises `DocumentRefused`: these bytes are no text."""
    yield Page(decoded(content))


def decoded(content: bytes) -> str:
    """The text of these bytes. Raises `DocumentRefused`: they are none.

    A byte order mark decides, then strict UTF-8, then where null bytes are, then what is likely; Latin-1 is left.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    sample = content[:ENCODING_SAMPLE_BYTES]
    if by_nulls := _by_nulls(sample):
        return content.decode(by_nulls, "replace")
    if looks_binary(sample):
        raise unsupported(_NO_TEXT)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return _of_unknown_encoding(content)


def _by_nulls(sample: bytes) -> str | None:
    if len(sample) < 4 or 0 not in sample:
        return None
    shares = [(column := sample[at::4]).count(0) / len(column) for at in range(4)]
    for pattern, encoding in _NULL_PATTERNS:
        if all(share > _MOSTLY if null else share < _RARELY for share, null in zip(shares, pattern, strict=True)):
            return encoding
    return None


def looks_binary(sample: bytes) -> bool:
    """Whether these bytes, the beginning of some, are no text in any encoding."""
    if sample.startswith(tuple(mark for mark, _ in _MARKS)) or _by_nulls(sample):
        return False
    return len(sample) - len(sample.translate(None, _CONTROLS)) > _CONTROL_MAX * len(sample)


def _of_unknown_encoding(content: bytes) -> str:
    with contextlib.suppress(UnicodeDecodeError):
        # Some programs write each half of a surrogate pair for itself.
        return content.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    mended = content.decode("utf-8", "replace")
    beyond_ascii = len(mended) - len(mended.encode("ascii", "ignore"))
    broken = mended.count("\ufffd")
    # A text cut off within a character, half a surrogate pair, a wrong byte here and there: not another encoding.
    if broken <= max(1, _DAMAGE_MAX * len(mended)) and broken * 2 <= beyond_ascii:
        return mended
    guess = content.decode(_likely(_telling(content)), "replace")
    start = guess[:ENCODING_SAMPLE_BYTES]
    if len(_CONTROL_CHARACTERS.findall(start)) > _CONTROL_MAX * len(start):
        raise unsupported(_NO_TEXT)
    return guess


def _likely(sample: bytes) -> str:
    """The detector breaks ties by the alphabet; here the more common encoding wins them."""
    found = [
        (match.chaos, -match.coherence, _CANDIDATES.index(encoding))
        for match in from_bytes(sample, cp_isolation=list(_CANDIDATES))
        for encoding in match.could_be_from_charset
        if encoding in _CANDIDATES
    ]
    return _CANDIDATES[min(found)[-1]] if found else "latin-1"


def _telling(content: bytes) -> bytes:
    """A part of the content that says the most about its encoding: around the first bytes beyond ASCII."""
    if (found := re.search(rb"[\x80-\xff]", content)) is None:
        return content[:ENCODING_SAMPLE_BYTES]
    # From a line's start: a sample that begins within a character says something wrong.
    start = content.rfind(b"\n", max(0, found.start() - 1024), found.start()) + 1
    start = start or max(0, found.start() - 1024)
    sample = content[start : start + ENCODING_SAMPLE_BYTES]
    cut = sample.rfind(b"\n")
    return sample[:cut] if cut > len(sample) // 2 else sample
