"""This module is HTML into a grid: one row per table row, hidden cells left out."""

from __future__ import annotations

import re
from typing import Final

from ledger.imports.cells import Grid, Place, Row

_OPENED: Final = re.compile(r"<table\b", re.IGNORECASE)
_ROW: Final = re.compile(r"<tr\b", re.IGNORECASE)
_CLOSED: Final = re.compile(r"</table\s*>", re.IGNORECASE)
_GENERATOR: Final = re.compile(r"<meta\s[^>]*generator[^>]*>", re.IGNORECASE)
_HTML: Final = re.compile(r"\s*<(?:!doctype\s+html|html|head|body|table|div|meta|\?xml|!--)", re.IGNORECASE)


def is_html(text: str) -> bool:
    """Whether a text begins as an HTML document does."""
    return bool(_HTML.match(text, 0, 4096))


def html_grid(text: str, place: Place) -> Grid:
    """Return every table row of a document, counted from 1 over all its tables.

    Raises:
        MalformedExport: The document ends within a table, or swallows rows.
    """
    _refuse_cut_off(text, place)
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    for hidden in tree.css("td.hidden, th.hidden"):
        hidden.decompose()
    rows = []
    for number, row in enumerate(tree.css("tr"), start=1):
        cells = tuple(cell.text() for cell in row.iter() if cell.tag in ("td", "th"))
        rows.append(Row(number, cells))
    _refuse_swallowed(len(_ROW.findall(text)), len(rows), place)
    generator = _GENERATOR.search(text, 0, 8192)
    return Grid(rows=tuple(rows), generator=generator[0].lower() if generator else "")


def _refuse_cut_off(text: str, place: Place) -> None:
    """An HTML parser closes what a cut-off file left open, so it cannot be asked."""
    opened, closed = len(_OPENED.findall(text)), len(_CLOSED.findall(text))
    if opened > closed:
        raise place.error(
            f"expected every table to end, found {opened} tables of which {closed} end: the file is cut off. "
            "Export or copy it again."
        )


def _refuse_swallowed(written: int, parsed: int, place: Place) -> None:
    """A quote or comment that is never closed makes a parser skip what follows, without a word."""
    if parsed < written:
        raise place.error(
            f"expected {written} table rows, found {parsed}: a quote or a comment that is not closed hides the rest. "
            "The file is damaged: export it again."
        )
