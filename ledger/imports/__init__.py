"""This package is what terminals and scripts wrote down of an account, read into values: a file in, a Statement out.

It decides nothing: what is a duplicate, what agrees with the broker's figures and what is recorded is the ledger's business.
"""

from __future__ import annotations

import os
from typing import Final

from ledger.imports.attribution import Attribution, attribute
from ledger.imports.cells import EXPECTED, Grid, Place
from ledger.imports.files import read_regular, refuse_irregular
from ledger.imports.notes import Note, one_line_each
from ledger.imports.statement import ClosedRow, DealRow, OpenRow, Statement

__all__ = [
    "Attribution",
    "ClosedRow",
    "DealRow",
    "Note",
    "OpenRow",
    "Statement",
    "attribute",
    "one_line_each",
    "read_regular",
    "read_statement",
    "refuse_irregular",
    "statement_of",
]


#: How files begin that people take for exports, and what to do with them.
_OTHERS: Final = (
    (b"\xd0\xcf\x11\xe0", "an old or password-protected Excel file. Save it as xlsx, without a password"),
    (b"%PDF", "a PDF. Export the report from the terminal as HTML or Open XML"),
    (b"\x89PNG", "a picture. Export the report from the terminal as HTML or Open XML"),
    (b"GIF8", "a picture. Export the report from the terminal as HTML or Open XML"),
    (b"\xff\xd8\xff", "a picture. Export the report from the terminal as HTML or Open XML"),
    (b"\x1f\x8b", "a gzip archive. Unpack it and import what comes out"),
    (b"Rar!", "an archive. Unpack it and import what comes out"),
    (b"7z\xbc\xaf", "an archive. Unpack it and import what comes out"),
    (b"SQLite format 3", "a database. To read a journal, name it with --journal"),
)


def read_statement(path: str | os.PathLike[str]) -> Statement:
    """Read a terminal or tester report (html, xlsx) or a dump of ``history_deals_get`` (csv, xlsx).

    What the file is shows in its content, never in its name.

    Raises:
        MalformedExport: The file is none of these, or a part of it lacks what it should have.
        OSError: The file cannot be opened.
    """
    return statement_of(read_regular(path, Place(os.fspath(path))), os.fspath(path))


def statement_of(data: bytes, file: str) -> Statement:
    """Read the bytes of a file.

    Raises:
        MalformedExport: As ``read_statement``.
    """
    return _statement(data, Place(file))


def _statement(data: bytes, place: Place) -> Statement:
    from ledger.imports.dump import is_dump, read_dump
    from ledger.imports.report import read_report

    grids = _grids(data, place)
    read = read_dump if any(is_dump(grid) for grid in grids) else read_report
    return read(grids, place)


def _grids(data: bytes, place: Place) -> tuple[Grid, ...]:
    if not data.strip(b"\x00 \t\r\n\xff\xfe\xef\xbb\xbf"):
        raise place.error(f"{EXPECTED}, found an empty file. Export it again.")
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        from ledger.imports.xlsx_grid import xlsx_grids

        return xlsx_grids(data, place)
    for magic, what in _OTHERS:
        if data.startswith(magic):
            raise place.error(f"{EXPECTED}, found {what}.")
    from ledger.imports.text import decode, is_mhtml, mhtml_page

    return (_text_grid(mhtml_page(data, place) if is_mhtml(data) else decode(data, place), place),)


def _text_grid(text: str, place: Place) -> Grid:
    from ledger.imports.html_grid import html_grid, is_html

    if is_html(text):
        return html_grid(text, place)
    from ledger.imports.csv_grid import csv_grid

    return csv_grid(text, place)
