"""Excel workbooks since 2007: one line a row, cells parted by tabs, each sheet under its name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from understudy.core.limits import SHEET_GAP_MAX
from understudy.documents.archive import Archive
from understudy.documents.ooxml import Package
from understudy.documents.pages import Page
from understudy.documents.xml_events import END, START, TEXT, attribute

__all__ = ["xlsx_pages"]

_DAY_ZERO: Final = datetime(1899, 12, 30, tzinfo=UTC)  # so that days from March 1900 on are right, as in Excel
_DAY_ZERO_1904: Final = datetime(1904, 1, 1, tzinfo=UTC)
_DATE_FORMATS: Final = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_LITERAL: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
_DATE_LETTERS: Final = re.compile("[ymdhs]", re.IGNORECASE)
_COLUMN: Final = re.compile("[A-Z]{1,3}")
_ERA_DAYS: Final = 2_958_466  # the year 9999's end


def xlsx_pages(archive: Archive) -> Iterator[Page]:
    package = Package(archive)
    main = package.main("spreadsheetml.sheet.main+xml", "ms-excel.sheet.macroEnabled.main+xml", "template.main+xml")
    relations = package.relations(main)
    by_type = {one.type: one.part for one in relations.values()}
    shared = _shared(package, by_type["sharedStrings"]) if "sharedStrings" in by_type else []
    dates = _date_styles(package, by_type["styles"]) if "styles" in by_type else frozenset()
    zero, sheets = _DAY_ZERO, []
    for kind, name, attributes in package.events(main):
        if kind == START and name == "workbookPr" and attribute(attributes, "date1904") in {"1", "true"}:
            zero = _DAY_ZERO_1904
        if kind == START and name == "sheet":
            id_ = next((value for key, value in attributes.items() if key.endswith(" id")), "")
            sheets.append((attribute(attributes, "name"), id_))
    for title, id_ in sheets:
        if id_ in relations:
            rows = _Rows(shared, dates, zero).lines(package, relations[id_].part)
            first = next(rows, None)
            if first is not None:
                yield Page(f"{title}\n{first}\n")
                yield from (Page(f"{line}\n") for line in rows)
                yield Page("\n")


def _shared(package: Package, part: str) -> Sequence[str]:
    """The texts that cells name by number, without how they are pronounced."""
    texts: list[str] = []
    said: list[str] = []
    in_text = spoken = False
    for kind, name, _ in package.events(part):
        if kind == TEXT:
            if in_text and not spoken:
                said.append(name)
        elif name == "t":
            in_text = kind == START
        elif name == "rPh":
            spoken = kind == START
        elif name == "si" and kind == END:
            texts.append("".join(said))
            said = []
    return texts


def _date_styles(package: Package, part: str) -> frozenset[int]:
    """The numbers of the cell styles that show a number as a date or time."""
    formats: set[int] = set(_DATE_FORMATS)
    dates: list[int] = []
    count, in_cells = 0, False
    for kind, name, attributes in package.events(part):
        if name == "cellXfs":
            in_cells = kind == START
        elif kind != START:
            continue
        elif name == "numFmt":
            if _DATE_LETTERS.search(_LITERAL.sub("", attribute(attributes, "formatCode"))):
                formats.add(_number(attribute(attributes, "numFmtId")))
        elif name == "xf" and in_cells:
            if _number(attribute(attributes, "numFmtId")) in formats:
                dates.append(count)
            count += 1
    return frozenset(dates)


class _Rows:
    def __init__(self, shared: Sequence[str], dates: frozenset[int], zero: datetime) -> None:
        self._shared = shared
        self._dates = dates
        self._zero = zero

    def lines(self, package: Package, part: str) -> Iterator[str]:
        """The rows that are not empty."""
        cells: dict[int, str] = {}
        of_cell: Mapping[str, str] = {}
        said: list[str] = []
        column, inside = -1, False
        for kind, name, attributes in package.events(part):
            if kind == TEXT:
                if inside:
                    said.append(name)
            elif name in {"v", "t"}:
                inside = kind == START
            elif name == "c" and kind == START:
                of_cell, said = attributes, []
                column = _column(attribute(attributes, "r"), column + 1)
            elif name == "c":
                if text := self._shown("".join(said), of_cell):
                    cells[column] = text
            elif name == "row" and kind == END:
                if cells:
                    yield _line(cells)
                cells, column = {}, -1

    def _shown(self, value: str, attributes: Mapping[str, str]) -> str:
        match attribute(attributes, "t"):
            case "s":
                number = _number(value)
                text = self._shared[number] if 0 <= number < len(self._shared) else ""
            case "b":
                text = "TRUE" if value.strip() == "1" else "FALSE"
            case "" | "n" if _number(attribute(attributes, "s")) in self._dates:
                text = self._date(value)
            case _:
                text = value
        return " ".join(text.split())

    def _date(self, value: str) -> str:
        try:
            days = float(value)
        except ValueError:
            return value
        if not 0 <= days < _ERA_DAYS:
            return value
        moment = self._zero + timedelta(seconds=round(days * 86_400))
        if days < 1:
            return f"{moment:%H:%M:%S}"
        return f"{moment:%Y-%m-%d}" if days == int(days) else f"{moment:%Y-%m-%d %H:%M:%S}"


def _line(cells: Mapping[int, str]) -> str:
    """Empty cells keep their place, unless there are very many."""
    line, last = [], -1
    for column in sorted(cells):
        if last >= 0:
            line.append("\t" * min(column - last, SHEET_GAP_MAX))
        line.append(cells[column])
        last = column
    return "".join(line)


def _column(reference: str, otherwise: int) -> int:
    """From 0 on, of a reference as `AB12`."""
    letters = _COLUMN.match(reference)
    if letters is None:
        return otherwise
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
