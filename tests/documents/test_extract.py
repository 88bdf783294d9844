"""What is read of a document, by its kind."""

from pathlib import Path

import pytest

from support.document_files import docx, epub, opendocument, pdf, pptx, xlsx, zipped
from understudy.documents.extract import pages
from understudy.documents.pages import Page
from understudy.ports import DocumentRefused

TEXT_BYTES = 1024 * 1024


class Reading:
    """Reads content under a name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pages(self, content: bytes, name: str = "", mime_type: str = "", text_bytes: int = TEXT_BYTES) -> list[Page]:
        self._path.write_bytes(content)
        return list(pages(self._path, name, mime_type, text_bytes=text_bytes))

    def text(self, content: bytes, name: str = "", mime_type: str = "") -> str:
        return "".join(page.text for page in self.pages(content, name, mime_type)).strip()

    def refusal(self, content: bytes, name: str = "", text_bytes: int = TEXT_BYTES) -> tuple[str, str]:
        with pytest.raises(DocumentRefused) as caught:
            self.pages(content, name, text_bytes=text_bytes)
        return caught.value.code, caught.value.message


@pytest.fixture
def read(tmp_path: Path) -> Reading:
    return Reading(tmp_path / "content")


# --- pdf


def test_a_pdf_is_read_page_by_page(read: Reading) -> None:
    found = read.pages(pdf(["First (page)", "Second\npage"]), "paper.pdf")
    assert [(page.text.split(), page.number) for page in found] == [(["First", "(page)"], 1), (["Second", "page"], 2)]


def test_the_name_does_not_hide_a_pdf(read: Reading) -> None:
    assert read.text(pdf(["Hello"]), "notes.txt") == "Hello"


def test_a_pdf_may_begin_behind_some_bytes(read: Reading) -> None:
    assert read.text(b"HTTP/1.1 200 OK\r\n\r\n" + pdf(["Hello"]), "paper.pdf") == "Hello"


def test_a_pdf_of_images_is_refused_in_words(read: Reading) -> None:
    code, message = read.refusal(pdf(["", ""]), "scan.pdf")
    assert code == "invalid_file"
    assert "images" in message


# --- office files


def test_a_word_document_is_paragraphs_and_tables(read: Reading) -> None:
    cell = "<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    rows = [["Name", "Age"], ["Ann", "7"]]
    table = "".join(f"<w:tr>{''.join(map(cell.format, row))}</w:tr>" for row in rows)
    text = read.text(docx("Hello & welcome.", "Second one.", body=f"<w:tbl>{table}</w:tbl>"), "letter.docx")
    assert text == "Hello & welcome.\n\nSecond one.\n\nName\tAge\nAnn\t7"


def test_word_shows_tabs_and_breaks_but_no_tab_stops_or_deleted_words(read: Reading) -> None:
    body = (
        "<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/>"
        "<w:t>c</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    )
    assert read.text(docx(body=body)) == "a\tb\nc"


def test_what_word_says_twice_for_older_programs_is_read_once(read: Reading) -> None:
    both = "<m:Choice xmlns:m='urn:m'>{0}</m:Choice><m:Fallback xmlns:m='urn:m'>{0}</m:Fallback>"
    assert read.text(docx(body=f"<w:p><w:r>{both.format('<w:t>box</w:t>')}</w:r></w:p>")) == "box"


def test_footnotes_and_headers_stand_behind_the_text(read: Reading) -> None:
    note = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
    parts = {"word/header1.xml": note.format("Letterhead"), "word/footnotes.xml": note.format("See there.")}
    assert read.text(docx("Text.", parts=parts)) == "Text.\n\nSee there.\n\nLetterhead"


def test_the_main_part_may_have_any_name(read: Reading) -> None:
    assert read.text(docx("Hello", main="word/document2.xml"), "x.docx") == "Hello"


def test_slides_are_pages_in_the_order_of_the_show(read: Reading) -> None:
    found = read.pages(pptx((["One", "more"], ""), (["Two"], "Say hello.")), "talk.pptx")
    texts = [page for page in found if page.text]
    assert texts == [Page("One\n\n", 1), Page("more\n\n", 1), Page("Two\n\n", 2), Page("Say hello.\n\n", 2)]


def test_a_workbook_is_lines_of_cells(read: Reading) -> None:
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="C1" t="inlineStr"><is><t>in line</t></is></c></row>'
        '<row r="2"><c r="A2" s="1"><v>45321</v></c><c r="B2"><v>1.5</v></c><c r="C2" t="b"><v>1</v></c></row>'
        '<row r="3"><c r="A3" s="2"><v>0.5</v></c><c r="B3" t="str"><f>A1</f><v>made</v></c>'
        '<c r="C3" s="3"><v>7</v></c></row>'
    )
    styles = (
        '<numFmts><numFmt numFmtId="164" formatCode="hh:mm"/><numFmt numFmtId="165" formatCode="0 &quot;days&quot;"/>'
        '</numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs>'
    )
    text = read.text(xlsx({"Sales & more": rows, "Empty": ""}, ["shared"], styles), "book.xlsx")
    assert text == "Sales & more\nshared\t\tin line\n2024-01-30\t1.5\tTRUE\n12:00:00\tmade\t7"


def test_an_opendocument_text_is_read(read: Reading) -> None:
    body = (
        "<office:text><text:tracked-changes><text:p>old</text:p></text:tracked-changes><text:h>Title</text:h>"
        "<text:p>a<text:s text:c='3'/>b<text:tab/>c<text:line-break/>d <text:span>e</text:span></text:p></office:text>"
    )
    assert read.text(opendocument(body), "text.odt") == "Title\n\na   b\tc\nd e"


def test_an_opendocument_sheet_is_lines_of_cells(read: Reading) -> None:
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
    gap = '<table:table-cell table:number-columns-repeated="2"/>'
    rows = f"<table:table-row>{cell.format('a')}{gap}{cell.format('b')}</table:table-row>"
    body = f'<office:spreadsheet><table:table table:name="Sheet">{rows}</table:table></office:spreadsheet>'
    assert read.text(opendocument(body, "spreadsheet"), "sheet.ods") == "Sheet\na\t\t\tb"


def test_opendocument_slides_are_pages(read: Reading) -> None:
    body = "".join(f"<draw:page><text:p>{text}</text:p></draw:page>" for text in ("One", "Two"))
    found = [page for page in read.pages(opendocument(body, "presentation")) if page.text]
    assert found == [Page("One\n\n", 1), Page("Two\n\n", 2)]


def test_a_book_is_its_chapters_in_order(read: Reading) -> None:
    book = epub({"z.xhtml": "<html><p>First&nbsp;one</p></html>", "a.xhtml": "<html><p>Second</p></html>"})
    assert read.text(book, "book.epub") == "First\u00a0one\n\nSecond"


# --- html, rtf


def test_html_is_what_a_reader_sees(read: Reading) -> None:
    page = (
        "<!DOCTYPE html><html><head><title>T</title><style>p{}</style><script>if (a < b) x()</script></head><body>"
        "<h1>Head  line</h1><p>A <b>bold</b> &amp; plain\n text.<br>Next</p><ul><li>one<li>two</ul>"
        "<pre>a\n  b</pre><table><tr><td>x</td><td>y</td></tr><tr><td>z</td></tr></table>"
        "<img alt='A cat'><noscript>no</noscript></body></html>"
    )
    expected = "T\n\nHead line\n\nA bold & plain text.\nNext\n\none\ntwo\n\na\n  b\n\nx\ty\nz\n\nA cat"
    assert read.text(page.encode(), "page.html") == expected


def test_html_is_read_in_the_encoding_that_it_names(read: Reading) -> None:
    page = '<html><head><meta charset="koi8-r"></head><body>Привет</body></html>'
    assert read.text(page.encode("koi8-r"), "page.htm") == "Привет"


@pytest.mark.parametrize("name", ["page.php", "page.md", "page.txt"])
def test_source_code_with_tags_is_left_as_it_is(read: Reading, name: str) -> None:
    assert read.text(b"<html><?php echo 1 ?></html>", name) == "<html><?php echo 1 ?></html>"


def test_html_without_a_name_is_seen_by_its_beginning_or_type(read: Reading) -> None:
    assert read.text(b"\n<!doctype html><p>Hello</p>") == "Hello"
    assert read.text(b"<p>Hello</p>", mime_type="text/html; charset=utf-8") == "Hello"


def test_rtf_is_its_text(read: Reading) -> None:
    written = (
        rb"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Times;}}{\*\generator Word;}{\info{\title Secret}}"
        rb"Hello \b bold\b0  caf\'e9 \u8364?uro \{x\}\par Next\tab line \u-10179?\u-8704?\par}"
    )
    assert read.text(written, "letter.rtf") == "Hello bold café €uro {x}\nNext\tline 😀"


# --- text, refusals


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.xml", "a.py", "a.tex", "a.ts", "Makefile", "", "../../x.md"])
def test_texts_and_source_code_are_left_as_they_are(read: Reading, name: str) -> None:
    assert read.text(b'{"a": "<b>1</b>"},\n\t2', name) == '{"a": "<b>1</b>"},\n\t2'


@pytest.mark.parametrize("content", [b"", b" \n\t", b"\xef\xbb\xbf", b"\xff\xfe", b"<html></html>"])
def test_an_empty_file_is_refused_in_the_services_words(read: Reading, content: bytes) -> None:
    refusal = read.refusal(content, "page.html" if b"<" in content else "a.txt")
    assert refusal == ("invalid_file", "The file could not be parsed because it is empty.")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0", "JPEG"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\0", "gzip"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 9, "programs"),
        (zipped({"a.txt": "hello"}), "archives"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "videos"),
        (b"a.txt" + b"\0" * 252 + b"ustar\x0000" + b"\0" * 240, "tar"),
    ],
)
def test_what_is_no_text_is_refused_by_its_kind(read: Reading, content: bytes, word: str) -> None:
    code, message = read.refusal(content, "a.txt")
    assert code == "unsupported_file"
    assert word in message


def test_a_document_that_is_another_thing_is_invalid(read: Reading) -> None:
    code, message = read.refusal(bytes(range(256)) * 4, "paper.pdf")
    assert code == "invalid_file"
    assert ".pdf" in message


def test_a_text_that_is_named_like_a_document_is_read_as_text(read: Reading) -> None:
    assert read.text(b"Only text.", "paper.pdf") == "Only text."


def test_too_much_text_is_refused(read: Reading) -> None:
    assert read.refusal(b"a" * 1001, "a.txt", text_bytes=1000)[0] == "invalid_file"
    assert read.refusal(docx("a" * 600, "b" * 600), "a.docx", text_bytes=1000)[0] == "invalid_file"
    assert len(read.pages(b"a" * 1000, "a.txt", text_bytes=1000)) == 1


def test_what_no_text_may_hold_is_replaced(read: Reading) -> None:
    assert read.text(b"one\0two " + b"x" * 900, "a.txt").startswith("one\ufffdtwo")
    assert read.text(b"half \xed\xa0\x80 a pair", "a.txt") == "half \ufffd a pair"


@pytest.mark.parametrize(("stream", "name"), [("WordDocument", ".doc"), ("Workbook", ".xls")])
def test_files_of_before_2007_are_told_apart_by_content(read: Reading, stream: str, name: str) -> None:
    code, message = read.refusal(ole(stream), "any.bin")
    assert code in {"unsupported_file", "invalid_file"}  # without its reader, and with it
    assert name in message


def test_an_encrypted_office_file_is_refused_for_its_password(read: Reading) -> None:
    code, message = read.refusal(ole("EncryptedPackage"), "letter.docx")
    assert code == "invalid_file"
    assert "password" in message


def ole(stream: str) -> bytes:
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2048) + stream.encode("utf-16-le")
