"""This module is a workbook into one grid per sheet.

The reader (calamine) is fast and strict. Terminals write their XML parts in UTF-16, which it does not read; it answers
formulas by their last result; and it lays a sheet out as a full rectangle, however far apart two cells are. So the parts
that matter are streamed into a second, uncompressed zip first: in UTF-8, with formulas turned into text, and refused
where their cells would fill more memory than an export needs.
"""

from __future__ import annotations

import codecs
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Final

from ledger.errors import MalformedExport
from ledger.imports.cells import Grid, Place, Row

#: Uncompressed bytes that a workbook may have: no account fills them, a zip bomb does.
LARGEST_WORKBOOK: Final = 2**30
#: How often the bytes of a workbook its parts may come to once unpacked: sheets of reports come to about 15 times. Small
#: workbooks may come to so many bytes all the same.
LARGEST_RATIO: Final = 60
SMALL_WORKBOOK: Final = 2**22
#: Cells that one sheet may spread over; a report of a million rows fills it. And how many for each cell that is there.
LARGEST_SHEET: Final = 20_000_000
LARGEST_SPREAD: Final = 40
_SMALL_SHEET: Final = 200_000
_CHUNK: Final = 2**20
#: Tags that begin like a cell and are none, or are cells without a reference, in a megabyte of an ordinary sheet.
_LOOSE_CELLS: Final = 64
_LONGEST_ROW: Final = 2**24

#: Parts that no cell depends on: pictures, charts, colours, properties.
_LEFT_OUT: Final = ("docprops/", "xl/charts/", "xl/drawings/", "xl/media/", "xl/theme/", "xl/printersettings/")

_ENCODING: Final = re.compile(rb"""\sencoding\s{0,8}=\s{0,8}["'][^"']{0,64}["']""")
#: Bytes in which an XML declaration ends.
_DECLARATION: Final = 256
_REFERENCE: Final = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]*)(\d+)""")
#: Cells from column AA or row 100000 on.
_FAR: Final = re.compile(rb"""r\s*=\s*["'](?:[A-Za-z]{2}|[A-Za-z]?\d{6})""")
_ROW: Final = re.compile(rb"[<:]row\b")
_CELL: Final = re.compile(rb"[<:]c[\s/>]")
#: A tag that matters to formulas. No attribute of a spreadsheet holds ``<`` or ``>`` unescaped.
_CELL_TAG: Final = re.compile(rb"<(/?)(?:\w{1,32}:)?([cf])((?:\s[^<>]*)?)>")
_AT: Final = re.compile(rb"""\sr\s{0,8}=\s{0,8}["'][A-Za-z]{1,8}\d{1,10}["']""")

_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression that this Python does not have
    RuntimeError,  # zipfile's way of asking for a password
    UnicodeError,
    ValueError,
    KeyError,
    OverflowError,
)


def xlsx_grids(data: bytes, place: Place) -> tuple[Grid, ...]:
    """Return the sheets of a workbook in its order, with rows counted as the spreadsheet counts them.

    Raises:
        MalformedExport: Not a workbook, cut off, protected by a password, or absurdly large.
    """
    plain, most = _plain_workbook(data, place)
    try:
        return tuple(_sheets(plain, most, place))
    except (MalformedExport, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # calamine's own errors, and a Rust panic, which is no Exception
        raise place.error(
            f"expected an xlsx workbook, found one that cannot be read ({type(error).__name__}: {error}). "
            "Export it again, or open it in a spreadsheet program and save it as xlsx."
        ) from error


def _sheets(plain: IO[bytes], most: int, place: Place) -> Iterator[Grid]:
    from python_calamine import CalamineWorkbook, SheetTypeEnum

    workbook = CalamineWorkbook.from_filelike(plain)
    sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    if len(sheets) > max(most, 1):
        raise place.error(f"expected each of {most} sheets once, found {len(sheets)} names for them. Export it again.")
    for sheet in sheets:
        cells = workbook.get_sheet_by_name(sheet.name).iter_rows()
        rows = (Row(number, tuple(row)) for number, row in enumerate(cells, start=1) if any(c != "" for c in row))
        yield Grid(rows=tuple(rows), name=sheet.name, has_exact_width=False)


def _plain_workbook(data: bytes, place: Place) -> tuple[IO[bytes], int]:
    """Return the workbook without what no cell depends on, in UTF-8, checked part by part, and its number of sheets."""
    plain = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(plain, "w") as target:
            parts = [part for part in source.infolist() if _is_needed(part.filename)]
            _refuse_bomb(sum(part.file_size for part in parts), len(data), place)
            _refuse_other_zip(parts, place)
            spread = _Spread(place)
            for part in parts:
                with source.open(part) as stream, target.open(_named(part), "w") as copy:
                    _copy(part, stream, copy, spread)
    except _BROKEN as error:
        raise place.error(
            f"expected an xlsx workbook, found a zip file that cannot be read ({error}). It is cut off, damaged or "
            "protected by a password: export or copy it again."
        ) from None
    plain.seek(0)
    return plain, sum(map(_is_sheet, parts))


def _is_needed(name: str) -> bool:
    lower = name.lower().lstrip("/")
    return lower.endswith((".xml", ".rels")) and not lower.startswith(_LEFT_OUT)


def _named(part: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Name a part of the copy. It is stored, not compressed: it is read once."""
    return zipfile.ZipInfo(part.filename)


def _refuse_bomb(unpacked: int, packed: int, place: Place) -> None:
    largest = min(LARGEST_WORKBOOK, max(SMALL_WORKBOOK, LARGEST_RATIO * packed))
    if unpacked > largest:
        raise place.error(
            f"expected a workbook of {packed} bytes to have at most {largest} bytes once unpacked, found {unpacked}. "
            "Save it again in a spreadsheet program, or export a shorter period."
        )


def _refuse_other_zip(parts: list[zipfile.ZipInfo], place: Place) -> None:
    names = {part.filename.lower().lstrip("/") for part in parts}
    if not any(name.startswith("xl/") for name in names):
        raise place.error(
            "expected an xlsx workbook, found another kind of zip file. "
            "If the report is inside, unpack it and import what comes out."
        )
    if len(names) < len(parts):
        raise place.error("expected an xlsx workbook, found a zip file with two parts of one name. Export it again.")


def _is_sheet(part: zipfile.ZipInfo) -> bool:
    name = part.filename.lower().lstrip("/")
    return name.startswith("xl/worksheets/") and not name.endswith(".rels")


def _copy(part: zipfile.ZipInfo, stream: IO[bytes], copy: IO[bytes], spread: _Spread) -> None:
    """Copy one part in UTF-8, a sheet by whole rows."""
    chunks = _utf8(stream)
    if not _is_sheet(part):
        for chunk in chunks:
            copy.write(chunk)
        return
    area = _Area(spread)
    for rows in _by_rows(chunks, spread.place):
        area.add(rows)
        copy.write(_with_formulas_as_text(rows, spread.place) if b"<f" in rows or b":f" in rows else rows)


def _utf8(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield a part in UTF-8."""
    chunk = stream.read(_CHUNK)
    if chunk[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        while chunk:
            yield chunk
            chunk = stream.read(_CHUNK)
        return
    decoder = codecs.getincrementaldecoder("utf-16")()
    first = decoder.decode(chunk).encode()
    yield _ENCODING.sub(b"", first[:_DECLARATION], count=1) + first[_DECLARATION:]
    while chunk := stream.read(_CHUNK):
        yield decoder.decode(chunk).encode()
    decoder.decode(b"", final=True)  # half a character at the end is an error


def _by_rows(chunks: Iterator[bytes], place: Place) -> Iterator[bytes]:
    """Yield the same bytes, cut behind the end of a row only, so that no cell is seen in two halves."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        cut = max(rest.rfind(b"</row>"), rest.rfind(b":row>"))
        if cut >= 0:
            yield rest[: cut + 6]
            rest = rest[cut + 6 :]
        if len(rest) > _LONGEST_ROW:
            raise place.error("expected a sheet with rows, found a part of it without any. Export it again.")
    yield rest


class _Spread:
    """How many cells the sheets of a workbook have, and how many they spread over, those between them included."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.cells = 0
        self.area = 0


class _Area:
    """How far apart the cells of a sheet are. A cell without a reference is beside the one before it."""

    def __init__(self, spread: _Spread) -> None:
        self._spread = spread
        self._before = spread.area
        self._rows = self._last_row = 0
        self._last_column, self._most_cells = 26, _LOOSE_CELLS

    def add(self, rows: bytes) -> None:
        """Take account of some rows.

        Raises:
            MalformedExport: The sheet is laid out too wide or too long to be an export.
        """
        self._rows += rows.count(b"<row") + rows.count(b":row")
        if _FAR.search(rows) or rows.count(b"<c") + rows.count(b":c") - rows.count(b'<c r="') > _LOOSE_CELLS:
            self._measure(rows)
        spread = self._spread
        spread.cells += rows.count(b"<c ") + rows.count(b":c ") + rows.count(b"<c>") + rows.count(b":c>")
        height, width = max(self._last_row, self._rows), self._last_column + self._most_cells
        spread.area = self._before + height * width
        largest = min(LARGEST_SHEET, max(_SMALL_SHEET, LARGEST_SPREAD * spread.cells))
        if spread.area > largest:
            raise spread.place.error(
                f"expected sheets of at most {largest} cells, found one that spreads over {height} rows and "
                f"{width} columns. Delete stray cells far below or beside the report."
            )

    def _measure(self, rows: bytes) -> None:
        """Look at every cell, which takes longer than reading it."""
        references = _REFERENCE.findall(rows)
        columns, numbers = {column for column, _ in references}, {number for _, number in references}
        self._last_row = max([self._last_row, *(int(number[:10]) for number in numbers)])
        self._last_column = max([self._last_column, *map(_column_number, columns)])
        if len(_CELL.findall(rows)) > sum(1 for column, _ in references if column):
            self._most_cells = max([self._most_cells, *(len(_CELL.findall(piece)) for piece in _ROW.split(rows))])


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters[:8].upper():
        number = number * 26 + letter - 64
    return number


def _with_formulas_as_text(rows: bytes, place: Place) -> bytes:
    """Turn formula cells into text cells that show the formula, so that its last result is never taken for a value.

    Raises:
        MalformedExport: A formula is outside of every cell, as this scanner sees them.
    """
    pieces: list[bytes] = []
    done = 0
    cell: re.Match[bytes] | None = None
    formula: bytes | None = None
    formula_at = -1
    for tag in _CELL_TAG.finditer(rows):
        closes, name, attributes = tag.groups()
        is_empty = attributes.endswith(b"/")
        if name == b"c" and not closes:
            cell, formula, formula_at = (None if is_empty else tag), None, -1
        elif name == b"f" and not closes and cell is None:
            raise place.error("expected every formula in a cell, found one outside. Save it again in a spreadsheet program.")
        elif name == b"f" and not closes and formula is None:
            formula_at = -1 if is_empty else tag.end()
            formula = b"" if is_empty else None
        elif name == b"f" and closes and formula_at >= 0:
            formula, formula_at = rows[formula_at : tag.start()], -1
        elif name == b"c" and closes and cell is not None:
            if formula is not None:
                pieces += (rows[done : cell.start()], _text_cell(cell, formula))
                done = tag.end()
            cell = None
    return b"".join((*pieces, rows[done:]))


def _text_cell(cell: re.Match[bytes], formula: bytes) -> bytes:
    name = cell[0][1:].split(maxsplit=1)[0].removesuffix(b">")
    prefix = name[:-1]
    where = _AT.search(cell[3][:_DECLARATION])
    opened = b'<%s%s t="inlineStr">' % (name, where[0] if where else b"")
    return opened + b"<%sis><%st>=%s</%st></%sis></%s>" % (prefix, prefix, formula, prefix, prefix, name)
