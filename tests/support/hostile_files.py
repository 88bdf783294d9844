"""Files that were made to do harm, and files that are only broken. They are made when they are asked for."""

import hashlib
import io
import random
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from support.document_files import docx, epub, pdf, pdf_of, xlsx, zipped
from understudy.core.limits import DOCUMENT_PARTS_MAX, DOCUMENT_UNZIPPED_BYTES_MAX

__all__ = ["HOSTILE", "Hostile", "inflating"]

_PADDING: Final = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
EMPTY: Final = "because it is empty"


class Hostile(NamedTuple):
    """A file, and what must become of it: a refusal's code and a word of its sentence, or `read` and a word of it."""

    name: str
    content: Callable[[], bytes]
    outcome: str
    word: str = ""


def _noise(length: int) -> bytes:
    return random.Random(7).randbytes(length)


def inflating(unit: bytes, megabytes: int) -> bytes:
    """Deflated, about that many megabytes of a unit. Only the first ten are really compressed, and then repeated."""
    block = unit * (10 * 2**20 // len(unit))
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    repeated = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    check = 1
    for _ in range(megabytes // 10):
        check = zlib.adler32(block, check)
    return b"\x78\xda" + repeated * (megabytes // 10) + squeeze.flush() + check.to_bytes(4, "big")


def _zip_bomb(name: str, megabytes: int) -> bytes:
    """A document whose main part is mostly blanks."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as part,
    ):
        for _ in range(megabytes):
            part.write(b" " * 2**20)
    return buffer.getvalue()


def _lying_zip() -> bytes:
    """A part that says it is small, and is not."""
    honest = docx("x" * 5_000_000)
    with zipfile.ZipFile(io.BytesIO(honest)) as archive:
        part = archive.getinfo("word/document.xml")
    said, lied = part.file_size.to_bytes(4, "little"), (1000).to_bytes(4, "little")
    return honest.replace(said, lied)


def _many_parts() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(DOCUMENT_PARTS_MAX + 1):
            archive.writestr(str(number), b"")
    return buffer.getvalue()


def _path_tricks() -> bytes:
    tricks = {"../../../../tmp/escaped": "x", "/etc/escaped": "x", "word/../../escaped": "x", "C:\\escaped": "x"}
    with zipfile.ZipFile(io.BytesIO(docx("Harmless."))) as archive:
        return zipped(tricks | {name: archive.read(name) for name in archive.namelist()})


def _with_main(xml: str | bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(docx("x"))) as archive:
        return zipped({"[Content_Types].xml": archive.read("[Content_Types].xml"), "word/document.xml": xml})


def _laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return _with_main(f'<!DOCTYPE x [<!ENTITY l0 "ha">{entities}]><x>&l9;</x>')


def _encrypted_zip() -> bytes:
    """A document whose parts say that they are encrypted."""
    plain = bytearray(docx("Secret."))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = plain.find(signature)
        while at >= 0:
            plain[at + flags] |= 1
            at = plain.find(signature, at + 1)
    return bytes(plain)


def _encrypted_pdf(*, user: bytes, owner: bytes) -> bytes:
    """Encrypted by the standard's oldest handler: RC4 with 40 bits. Without a user's password anybody may open it."""
    padded = {name: (word + _PADDING)[:32] for name, word in (("user", user), ("owner", owner))}
    said_by_owner = _rc4(hashlib.md5(padded["owner"]).digest()[:5], padded["user"])
    allowed, id_ = -4, bytes(16)
    key = hashlib.md5(padded["user"] + said_by_owner + allowed.to_bytes(4, "little", signed=True) + id_).digest()[:5]
    stream = zlib.compress(b"BT /F1 12 Tf 72 720 Td (Locked words) Tj ET")
    of_stream = hashlib.md5(key + (5).to_bytes(3, "little") + bytes(2)).digest()[:10]  # of object 5
    entries = (said_by_owner.hex().encode(), _rc4(key, _PADDING).hex().encode(), id_.hex().encode(), id_.hex().encode())
    trailer = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<%s> <%s>]" % entries
    return pdf_of([_rc4(of_stream, stream)], trailer=trailer)


def _rc4(key: bytes, content: bytes) -> bytes:
    box = list(range(256))
    at = 0
    for number in range(256):
        at = (at + box[number] + key[number % len(key)]) % 256
        box[number], box[at] = box[at], box[number]
    written = bytearray()
    first = second = 0
    for byte in content:
        first = (first + 1) % 256
        second = (second + box[first]) % 256
        box[first], box[second] = box[second], box[first]
        written.append(byte ^ box[(box[first] + box[second]) % 256])
    return bytes(written)


def _page_loop() -> bytes:
    """Pages whose parents are their own children."""
    return pdf(["x"]).replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")


def _cells(count: int) -> str:
    return "".join(f'<row r="{n}"><c r="XFD{n}" t="inlineStr"><is><t>v{n}</t></is></c></row>' for n in range(1, count))


def _rtf_nest() -> bytes:
    return rb"{\rtf1 " + b"{" * 100_000 + b"deep"


_OVER = DOCUMENT_UNZIPPED_BYTES_MAX // 2**20 + 1

_FILES: Final = (
    # nothing, or nearly
    Hostile("zero-bytes.txt", lambda: b"", "invalid_file", EMPTY),
    Hostile("zero-bytes.pdf", lambda: b"", "invalid_file", EMPTY),
    Hostile("blank.md", lambda: b" \r\n\t" * 1000, "invalid_file", EMPTY),
    Hostile("blank.docx", lambda: docx(""), "invalid_file", EMPTY),
    Hostile("one-byte.txt", lambda: b"a", "read", "a"),
    # noise
    Hostile("noise.txt", lambda: _noise(100_000), "unsupported_file", "neither text"),
    Hostile("noise.pdf", lambda: _noise(100_000), "invalid_file", ".pdf"),
    Hostile("noise.docx", lambda: b"PK\x03\x04" + _noise(100_000), "invalid_file", "damaged"),
    Hostile("noise-behind-header.pdf", lambda: b"%PDF-1.7\n" + _noise(100_000), "invalid_file", "damaged"),
    Hostile("nulls.txt", lambda: bytes(100_000), "unsupported_file", "neither text"),
    Hostile("null-here-and-there.txt", lambda: (b"some words and more, " * 9 + b"\0") * 40, "read", "more"),
    # encodings
    Hostile("utf-16.txt", lambda: "Grüße an 漢字".encode("utf-16"), "read", "Grüße an 漢字"),
    Hostile("utf-16-unmarked.txt", lambda: "Plain words".encode("utf-16-be"), "read", "Plain words"),
    Hostile("utf-32.txt", lambda: "Grüße an 漢字".encode("utf-32"), "read", "Grüße an 漢字"),
    Hostile("utf-16-odd.txt", lambda: "words".encode("utf-16") + b"x", "read", "words"),
    Hostile("utf-8-marked.txt", lambda: "Grüße".encode("utf-8-sig"), "read", "Grüße"),
    Hostile("utf-8-cut-off.txt", lambda: "漢字かな".encode()[:-1], "read", "漢字か"),
    Hostile("lone-surrogates.txt", lambda: b"half \xed\xa0\x80 and \xed\xb0\x80 half", "read", "half \ufffd and"),
    Hostile("latin-1.txt", lambda: "Où est le café, señor? ".encode("latin-1") * 9, "read", "Où est le café, señor?"),
    Hostile("cp1252.txt", lambda: "5 € for the “café” ".encode("cp1252") * 9, "read", "5 € for the “café”"),
    Hostile(
        "shift-jis.txt",
        lambda: "これは日本語の文書です。\n".encode("shift_jis") * 9,
        "read",
        "これは日本語の文書です。",
    ),
    # size and shape
    Hostile("one-line.txt", lambda: b"a" * 3_000_000, "read", "aaa"),
    Hostile("one-line.json", lambda: b'{"key": [' + b"1234, " * 500_000 + b"1]}", "read", "1234"),
    Hostile("too-much.txt", lambda: b"many words " * 7_000_000, "invalid_file", "64 MB"),
    Hostile("brackets.html", lambda: b"<" * 200_000, "read", "<"),
    Hostile("nested.html", lambda: b"<div>" * 200_000 + b"deep", "read", "deep"),
    Hostile("nested.rtf", _rtf_nest, "invalid_file", "nested"),
    # archives
    Hostile("archive.zip", lambda: zipped({"a.txt": "x"}), "unsupported_file", "archives"),
    Hostile(
        "nested-archives.zip", lambda: zipped({"b.zip": zipped({"c.zip": _zip_bomb("d", 2)})}), "unsupported_file", ""
    ),
    Hostile("bomb.docx", lambda: _zip_bomb("word/document.xml", _OVER), "invalid_file", "300 MB"),
    Hostile("ratio.docx", lambda: _zip_bomb("word/document.xml", 20), "invalid_file", "200 times"),
    Hostile("lying.docx", _lying_zip, "invalid_file", "damaged"),
    Hostile("many-parts.docx", _many_parts, "invalid_file", "parts"),
    Hostile("truncated.docx", lambda: docx("x" * 5000)[:-200], "invalid_file", "damaged"),
    Hostile("encrypted.docx", _encrypted_zip, "invalid_file", "password"),
    Hostile("path-tricks.docx", _path_tricks, "read", "Harmless."),
    Hostile("entities.docx", _laughs, "invalid_file", "entities"),
    Hostile("deep.docx", lambda: _with_main("".join(f"<a{n}>" for n in range(5000))), "invalid_file", "nested"),
    Hostile("broken-xml.docx", lambda: _with_main("<a><b></a>"), "invalid_file", "XML"),
    Hostile("not-xml.docx", lambda: _with_main(_noise(1000)), "invalid_file", "XML"),
    Hostile(
        "no-main-part.docx",
        lambda: docx("x").replace(b"word/document.xml", b"word/dokument.xml", 1),
        "invalid_file",
        "",
    ),
    Hostile("last-column.xlsx", lambda: xlsx({"S": _cells(2000)}), "read", "v1999"),
    Hostile("no-chapters.epub", lambda: epub({}), "invalid_file", EMPTY),
    # pdf
    Hostile("truncated.pdf", lambda: pdf(["Some words"] * 20)[:3000], "invalid_file", "damaged"),
    Hostile("user-password.pdf", lambda: _encrypted_pdf(user=b"u", owner=b"o"), "invalid_file", "password"),
    Hostile("owner-password.pdf", lambda: _encrypted_pdf(user=b"", owner=b"o"), "read", "Locked words"),
    Hostile("loop.pdf", _page_loop, "invalid_file", ""),
    Hostile(
        "bomb-of-text.pdf", lambda: pdf_of([inflating(b"BT /F1 12 Tf (A) Tj ET\n", 1000)]), "invalid_file", "memory"
    ),
    Hostile(
        "bomb-in-bomb.pdf",
        lambda: pdf_of([zlib.compress(inflating(b" ", 1000), 9)], filters=b"[/FlateDecode /FlateDecode]"),
        "invalid_file",
        "memory",
    ),
    Hostile("many-pages.pdf", lambda: pdf(f"Page {number}" for number in range(10_000)), "read", "Page 9999"),
    Hostile("pdf-as.txt", lambda: pdf(["Hidden words"]), "read", "Hidden words"),
    Hostile("docx-as.pdf", lambda: docx("Hidden words"), "read", "Hidden words"),
    Hostile("text-as.docx", lambda: b"Only words", "read", "Only words"),
    # names
    Hostile("../../../etc/passwd", lambda: b"Only words", "read", "Only words"),
    Hostile("a\nb\0c\x1b[31m.txt", lambda: b"Only words", "read", "Only words"),
    Hostile("." * 300, lambda: b"Only words", "read", "Only words"),
    Hostile("", lambda: b"Only words", "read", "Only words"),
)
HOSTILE: Final[Mapping[str, Hostile]] = {hostile.name: hostile for hostile in _FILES}
