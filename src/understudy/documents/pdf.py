"""PDF files, page by page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pypdfium2
from pypdfium2 import raw

from understudy.documents.pages import Page, invalid

__all__ = ["pdf_pages"]

# A word that is divided at a line's end, as the library marks it.
_DIVIDED: Final = re.compile("[\ufffe\u00ad\x02](?:\r?\n)?")
_REASONS: Final = {
    raw.FPDF_ERR_PASSWORD: "it is protected with a password",
    raw.FPDF_ERR_SECURITY: "it is encrypted in a way that is not supported",
    raw.FPDF_ERR_FORMAT: "it is damaged, or no PDF",
}


def pdf_pages(path: Path) -> Iterator[Page]:
    """Raises `DocumentRefused` for a file that is damaged, needs a password, or holds nothing but images."""
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        reason = _REASONS.get(error.err_code or 0, _REASONS[raw.FPDF_ERR_FORMAT])
        raise invalid(f"The file could not be parsed: {reason}.") from error
    with document:
        blank = True
        for number in range(1, len(document) + 1):
            text = _text(document, number - 1)
            blank = blank and not text.strip()
            yield Page(text + "\n\n", number)
        if blank:
            raise invalid(
                "The file could not be parsed because it holds no text: its pages may be images, which are not read."
            )


def _text(document: pypdfium2.PdfDocument, index: int) -> str:
    """Empty for a page that is damaged: the others may still be worth reading."""
    try:
        page = document[index]
    except pypdfium2.PdfiumError:
        return ""
    try:
        with_marks = page.get_textpage().get_text_bounded()
    except pypdfium2.PdfiumError:
        return ""
    finally:
        page.close()
    return _DIVIDED.sub("", with_marks).replace("\r\n", "\n")
