"""This module is delimited text into a grid; the delimiter is the one that the first line uses most."""

from __future__ import annotations

import csv
import io
from typing import Final

from ledger.imports.cells import Grid, Place, Row

_DELIMITERS: Final = ",;\t|"
_LONGEST_CELL: Final = 131_072


def csv_grid(text: str, place: Place) -> Grid:
    """Return the records of a text, counted from 1; the first is usually the header.

    Raises:
        MalformedExport: Quotes do not match, or a cell is absurdly long.
    """
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    try:
        rows.extend(Row(number, tuple(record)) for number, record in enumerate(reader, start=1))
    except csv.Error as error:
        raise place.error(
            f"expected delimited text, found a record that cannot be split ({error}). "
            f"Cells longer than {_LONGEST_CELL} characters and unmatched quotes are the usual causes; "
            "write the file again with its quotes doubled.",
            len(rows) + 1,
        ) from None
    return Grid(rows=tuple(rows))
