"""This module is delimited text into a grid; the delimiter is the one that the first lines use most."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from itertools import islice
from typing import Final

from ledger.imports.cells import Grid, Place, Row

_DELIMITERS: Final = ",;\t|"
_LONGEST_CELL: Final = 131_072
#: Characters and lines that show the delimiter: the title rows of a report may have none.
_HEAD: Final = 65_536
_LINES: Final = 100


def csv_grid(text: str, place: Place) -> Grid:
    """Return the records of a text that hold something, counted from 1; the first is usually the header.

    Empty columns before all others are left out.

    Raises:
        MalformedExport: Quotes do not match, or a cell is absurdly long.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    records: list[list[str]] = []
    try:
        records.extend(reader)
    except csv.Error as error:
        raise place.error(
            f"expected delimited text, found a record that cannot be split ({error}). "
            f"Cells longer than {_LONGEST_CELL} characters and unmatched quotes are the usual causes; "
            "write the file again with its quotes doubled.",
            len(records) + 1,
        ) from None
    first = _first_column(records)
    rows = tuple(Row(number, tuple(record[first:])) for number, record in enumerate(records, start=1) if any(record))
    return Grid(rows=rows, has_own_width=False)


def _delimiter(text: str) -> str:
    lines = "\n".join(islice(text[:_HEAD].lstrip("\r\n").splitlines(), _LINES))
    return max(_DELIMITERS, key=lines.count)


def _first_column(records: Iterable[list[str]]) -> int:
    """Return the first column in which any record has something."""
    first: int | None = None
    for record in records:
        for index, cell in enumerate(record[:first]):
            if cell.strip():
                first = index
                break
        if first == 0:
            return 0
    return first or 0
