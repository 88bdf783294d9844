"""Documents made on the spot, as the programs that people use write them, only smaller."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape

_OFFICE = "application/vnd.openxmlformats-officedocument"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_P = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    f'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="{_RELATION}"'
)
_X = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{_RELATION}"'
_O = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for name in ("office", "text", "table", "drawing")
).replace("xmlns:drawing", "xmlns:draw")


def zipped(parts: Mapping[str, str | bytes], *, first: str = "") -> bytes:
    """`first` is stored uncompressed before all others, as some formats want."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if first:
            archive.writestr(zipfile.ZipInfo("mimetype"), first)
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def pdf(pages: Iterable[str], *, trailer: bytes = b"") -> bytes:
    """A page of text in lines each."""
    return pdf_of([zlib.compress(_shown(page).encode("cp1252", "replace")) for page in pages], trailer=trailer)


def pdf_of(streams: Sequence[bytes], *, filters: bytes = b"/FlateDecode", trailer: bytes = b"") -> bytes:
    """A page of each content stream, which is filtered already."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d /MediaBox [0 0 612 792] >>" % (kids, len(streams)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, stream in enumerate(streams):
        page = b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        objects.append(page % (5 + 2 * number))
        head = b"<< /Length %d /Filter %s >>\nstream\n" % (len(stream), filters)
        objects.append(head + stream + b"\nendstream")
    written = io.BytesIO()
    written.write(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(written.tell())
        written.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    table = written.tell()
    written.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    written.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    written.write(b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n" % (len(objects) + 1, trailer))
    written.write(b"%d\n%%%%EOF" % table)
    return written.getvalue()


def _shown(page: str) -> str:
    lines = (line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") for line in page.split("\n"))
    return "BT /F1 12 Tf 14 TL 72 720 Td " + " T* ".join(f"({line}) Tj" for line in lines) + " ET"


def docx(
    *paragraphs: str, body: str = "", parts: Mapping[str, str] | None = None, main: str = "word/document.xml"
) -> bytes:
    """`body` is XML behind the paragraphs. `parts` are further ones, by name, such as `word/footnotes.xml`."""
    written = "".join(f"<w:p><w:r><w:t>{escape(one)}</w:t></w:r></w:p>" for one in paragraphs) + body
    types = {main: f"{_OFFICE}.wordprocessingml.document.main+xml"}
    for name in parts or {}:
        kind = name.rpartition("/")[2].removesuffix(".xml").rstrip("0123456789")
        types[name] = f"{_OFFICE}.wordprocessingml.{kind}+xml"
    return zipped(
        {
            "[Content_Types].xml": _types(types),
            main: f"<w:document {_W}><w:body>{written}</w:body></w:document>",
            **{name: f"<w:part {_W}>{content}</w:part>" for name, content in (parts or {}).items()},
        }
    )


def pptx(*slides: tuple[Sequence[str], str]) -> bytes:
    """Each slide's paragraphs, and what the speaker has noted. The files' numbers run against the slides' order."""
    types = {"ppt/presentation.xml": f"{_OFFICE}.presentationml.presentation.main+xml"}
    parts: dict[str, str] = {}
    shown, related = "", ""
    for number, (paragraphs, notes) in enumerate(slides):
        file = f"slide{len(slides) - number}.xml"
        shown += f'<p:sldId id="{256 + number}" r:id="rId{number}"/>'
        related += _related(f"rId{number}", "slide", f"slides/{file}")
        parts[f"ppt/slides/{file}"] = f"<p:sld {_P}>{_drawn(paragraphs)}</p:sld>"
        if notes:
            parts[f"ppt/notesSlides/notes-{file}"] = f"<p:notes {_P}>{_drawn([notes])}</p:notes>"
            relation = _related("rId1", "notesSlide", f"../notesSlides/notes-{file}")
            parts[f"ppt/slides/_rels/{file}.rels"] = f"<Relationships>{relation}</Relationships>"
    parts["ppt/presentation.xml"] = f"<p:presentation {_P}><p:sldIdLst>{shown}</p:sldIdLst></p:presentation>"
    parts["ppt/_rels/presentation.xml.rels"] = f"<Relationships>{related}</Relationships>"
    return zipped({"[Content_Types].xml": _types(types), **parts})


def xlsx(sheets: Mapping[str, str], shared: Sequence[str] = (), styles: str = "") -> bytes:
    """Each sheet's rows as XML, by its title; texts that cells may name by number; `styleSheet`'s content."""
    types = {"xl/workbook.xml": f"{_OFFICE}.spreadsheetml.sheet.main+xml"}
    parts: dict[str, str] = {}
    listed, related = "", ""
    for number, (title, rows) in enumerate(sheets.items(), 1):
        listed += f'<sheet name="{escape(title)}" sheetId="{number}" r:id="rId{number}"/>'
        related += _related(f"rId{number}", "worksheet", f"/xl/worksheets/sheet{number}.xml")
        parts[f"xl/worksheets/sheet{number}.xml"] = f"<worksheet {_X}><sheetData>{rows}</sheetData></worksheet>"
    if shared:
        related += _related("rId98", "sharedStrings", "sharedStrings.xml")
        parts["xl/sharedStrings.xml"] = f"<sst {_X}>{''.join(f'<si><t>{escape(one)}</t></si>' for one in shared)}</sst>"
    if styles:
        related += _related("rId99", "styles", "styles.xml")
        parts["xl/styles.xml"] = f"<styleSheet {_X}>{styles}</styleSheet>"
    parts["xl/workbook.xml"] = f"<workbook {_X}><sheets>{listed}</sheets></workbook>"
    parts["xl/_rels/workbook.xml.rels"] = f"<Relationships>{related}</Relationships>"
    return zipped({"[Content_Types].xml": _types(types), **parts})


def opendocument(body: str, kind: str = "text") -> bytes:
    content = f"<office:document-content {_O}><office:body>{body}</office:body></office:document-content>"
    return zipped({"content.xml": content}, first=f"application/vnd.oasis.opendocument.{kind}")


def epub(chapters: Mapping[str, str]) -> bytes:
    """HTML by file name, in the order of reading."""
    items = "".join(f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    opf = f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    container = '<container><rootfiles><rootfile full-path="book/content.opf"/></rootfiles></container>'
    parts = {"META-INF/container.xml": container, "book/content.opf": opf}
    named = dict(sorted((f"book/{name}", html) for name, html in chapters.items()))
    return zipped(parts | named, first="application/epub+zip")


def _types(types: Mapping[str, str]) -> str:
    overrides = "".join(f'<Override PartName="/{part}" ContentType="{type_}"/>' for part, type_ in types.items())
    return f'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">{overrides}</Types>'


def _related(id_: str, type_: str, target: str) -> str:
    return f'<Relationship Id="{id_}" Type="{_RELATION}/{type_}" Target="{target}"/>'


def _drawn(paragraphs: Sequence[str]) -> str:
    texts = "".join(f"<a:p><a:r><a:t>{escape(one)}</a:t></a:r></a:p>" for one in paragraphs)
    return f"<p:cSld><p:spTree><p:sp><p:txBody>{texts}</p:txBody></p:sp></p:spTree></p:cSld>"
