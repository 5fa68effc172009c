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

from ledger.imports.cells import Grid, Place, Row

#: Uncompressed bytes that a workbook may have: no account fills them, a zip bomb does.
LARGEST_WORKBOOK: Final = 2**30
#: Cells that one sheet may spread over; a report of a million rows fills it.
LARGEST_SHEET: Final = 20_000_000
_CHUNK: Final = 2**20
#: Tags that begin like a cell and are none, or are cells without a reference, in a megabyte of an ordinary sheet.
_LOOSE_CELLS: Final = 64
_LONGEST_ROW: Final = 2**24

#: Parts that no cell depends on: pictures, charts, colours, properties.
_LEFT_OUT: Final = ("docprops/", "xl/charts/", "xl/drawings/", "xl/media/", "xl/theme/", "xl/printersettings/")

_ENCODING: Final = re.compile(rb"""(<\?xml[^>]*?)\s+encoding\s*=\s*["'][^"']*["']""")
_REFERENCE: Final = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]*)(\d+)""")
#: Cells from column AA or row 100000 on.
_FAR: Final = re.compile(rb"""r\s*=\s*["'](?:[A-Za-z]{2}|[A-Za-z]?\d{6})""")
_ROW: Final = re.compile(rb"[<:]row\b")
_CELL: Final = re.compile(rb"[<:]c[\s/>]")
_FORMULA: Final = re.compile(
    rb"<((?:\w+:)?)c\s([^>]*[^/])>\s*<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>([^<]*)</(?:\w+:)?f\s*>).*?</\1c\s*>", re.DOTALL
)

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
    plain = _plain_workbook(data, place)
    try:
        return tuple(_sheets(plain))
    except (MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # calamine's own errors, and a Rust panic, which is no Exception
        raise place.error(
            f"expected an xlsx workbook, found one that cannot be read ({type(error).__name__}: {error}). "
            "Export it again, or open it in a spreadsheet program and save it as xlsx."
        ) from error


def _sheets(plain: IO[bytes]) -> Iterator[Grid]:
    from python_calamine import CalamineWorkbook, SheetTypeEnum

    workbook = CalamineWorkbook.from_filelike(plain)
    for sheet in workbook.sheets_metadata:
        if sheet.typ != SheetTypeEnum.WorkSheet:
            continue
        cells = workbook.get_sheet_by_name(sheet.name).iter_rows()
        rows = (Row(number, tuple(row)) for number, row in enumerate(cells, start=1) if any(c != "" for c in row))
        yield Grid(rows=tuple(rows), name=sheet.name, has_exact_width=False)


def _plain_workbook(data: bytes, place: Place) -> IO[bytes]:
    """Return the workbook without what no cell depends on, in UTF-8, checked part by part."""
    plain = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(plain, "w") as target:
            parts = [part for part in source.infolist() if _is_needed(part.filename)]
            _refuse_bomb(sum(part.file_size for part in parts), place)
            _refuse_other_zip(parts, place)
            for part in parts:
                with source.open(part) as stream, target.open(_named(part), "w") as copy:
                    _copy(part, stream, copy, place)
    except _BROKEN as error:
        raise place.error(
            f"expected an xlsx workbook, found a zip file that cannot be read ({error}). It is cut off, damaged or "
            "protected by a password: export or copy it again."
        ) from None
    plain.seek(0)
    return plain


def _is_needed(name: str) -> bool:
    lower = name.lower().lstrip("/")
    return lower.endswith((".xml", ".rels")) and not lower.startswith(_LEFT_OUT)


def _named(part: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Name a part of the copy. It is stored, not compressed: it lives for one reading."""
    return zipfile.ZipInfo(part.filename)


def _refuse_bomb(size: int, place: Place) -> None:
    if size > LARGEST_WORKBOOK:
        raise place.error(
            f"expected a workbook of at most {LARGEST_WORKBOOK} bytes once unpacked, found {size}. Export a shorter period."
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


def _copy(part: zipfile.ZipInfo, stream: IO[bytes], copy: IO[bytes], place: Place) -> None:
    """Copy one part in UTF-8, a sheet by whole rows."""
    chunks = _utf8(stream)
    if not part.filename.lower().lstrip("/").startswith("xl/worksheets/") or part.filename.lower().endswith(".rels"):
        for chunk in chunks:
            copy.write(chunk)
        return
    area = _Area(place)
    for rows in _by_rows(chunks, place):
        area.add(rows)
        copy.write(_FORMULA.sub(_as_text, rows) if b"<f" in rows or b":f" in rows else rows)


def _utf8(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield a part in UTF-8."""
    chunk = stream.read(_CHUNK)
    if chunk[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        while chunk:
            yield chunk
            chunk = stream.read(_CHUNK)
        return
    decoder = codecs.getincrementaldecoder("utf-16")()
    yield _ENCODING.sub(rb"\1", decoder.decode(chunk).encode(), count=1)
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


class _Area:
    """How far the cells of a sheet lie apart. A cell without a reference stands beside the one before it."""

    def __init__(self, place: Place) -> None:
        self._place = place
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
        height, width = max(self._last_row, self._rows), self._last_column + self._most_cells
        if height * width > LARGEST_SHEET:
            raise self._place.error(
                f"expected a sheet of at most {LARGEST_SHEET} cells, found one that spreads over {height} rows and "
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


def _as_text(cell: re.Match[bytes]) -> bytes:
    """Turn a formula cell into a text cell showing the formula, so that its last result is never taken for a value."""
    prefix, attributes, formula = cell[1], cell[2], cell[3] or b""
    where = re.search(rb"""\br\s*=\s*["'][A-Za-z]+\d+["']""", attributes)
    opened = b'<%sc %s t="inlineStr">' % (prefix, where[0] if where else b"")
    return opened + b"<%sis><%st>=%s</%st></%sis></%sc>" % (prefix, prefix, formula, prefix, prefix, prefix)
