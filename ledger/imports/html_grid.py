"""This module is HTML into a grid: one row per table row, hidden cells left out.

The scanner reads every character once, so that its time grows with the length of a file and with nothing else. It knows
of HTML what tables need: comments, quoted attributes, scripts and styles, and cells and rows that no tag closes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape
from itertools import pairwise
from typing import Final

from ledger.imports.cells import Grid, Place, Row

_OPENED: Final = re.compile(r"<table\b", re.IGNORECASE)
_ROW: Final = re.compile(r"<tr\b", re.IGNORECASE)
_CLOSED: Final = re.compile(r"</table\s*>", re.IGNORECASE)
_HTML: Final = re.compile(r"\s*<(?:!doctype\s+html|html|head|body|table|div|meta|\?xml|!--)", re.IGNORECASE)

#: A tag's beginning, a comment, or a declaration. Whatever else begins with ``<`` is text.
_TAG: Final = re.compile(r"<(?:(/?)([A-Za-z][^\s/>]*)|(!--)|[!?])")
#: A cell of nothing but text, as nearly all are: its attributes and its text.
_PLAIN_CELL: Final = re.compile(r"""<t[dh]((?:\s+[a-z-]+(?:="[^"<>]*")?)*)\s*>([^<]*)</t[dh]>""", re.IGNORECASE)
_VALUE_OR_END: Final = re.compile(r""">|=\s*["']""")
_ATTRIBUTE: Final = re.compile(r"""=\s*"[^"]*"|=\s*'[^']*'|=|[^\s=]+""")
_CELLS: Final = frozenset({"td", "th"})
_ENDS_CELL: Final = frozenset({"td", "th", "tr", "table", "tbody", "thead", "tfoot"})
#: Elements whose content is no HTML, up to their end tag.
_RAW: Final = frozenset({"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"})
#: Tables within tables that a file may have; reports have one level, pages around them a few.
_DEEPEST: Final = 64
_LONGEST_REFERENCE: Final = re.compile(r"&#\w{9}")


def is_html(text: str) -> bool:
    """Whether a text begins as an HTML document does."""
    return bool(_HTML.match(text, 0, 4096))


def html_grid(text: str, place: Place) -> Grid:
    """Return every table row of a document that holds something, counted from 1 over all its tables.

    Raises:
        MalformedExport: The document ends within a table, or swallows rows, or its tables are nested too deep.
    """
    _refuse_cut_off(text, place)
    scanner = _Scanner(text, place)
    scanner.scan()
    _refuse_swallowed(len(_ROW.findall(text)), scanner.begun, place)
    rows = tuple(Row(number, tuple(cells)) for number, cells in enumerate(scanner.rows, start=1) if any(cells))
    return Grid(rows=rows, generator=scanner.generator)


class _Scanner:
    """One pass over a document. ``rows`` are the cells of each table row, in the order in which the rows begin."""

    def __init__(self, text: str, place: Place) -> None:
        self.rows: list[list[str]] = []
        self.begun = 0
        self.generator = ""
        self._text = text
        self._place = place
        self._row: list[str] | None = None
        self._cell: list[str] | None = None
        self._is_hidden = False
        #: Row and cell of the tables around the current one.
        self._outer: list[tuple[list[str] | None, list[str] | None, bool]] = []

    def scan(self) -> None:
        """Read the document."""
        text, at = self._text, 0
        search, plain = _TAG.search, _PLAIN_CELL.match
        while found := search(text, at):
            begin = found.start()
            if self._cell is None and self._row is not None and (cell := plain(text, begin)):
                attributes, content = cell.groups()
                if "hidden" not in attributes or not _has_class_hidden(attributes):
                    self._row.append(self._unescaped(content))
                at = cell.end()
                continue
            if self._cell is not None and begin > at:
                self._cell.append(text[at:begin])
            closes, name, comment = found.groups()
            if name is None:
                at = self._behind(">" if comment is None else "-->", found.end())
                continue
            end = self._tag_end(found.end())
            at = end + 1
            name = name.lower()
            if name in _ENDS_CELL:
                self._table_tag(name, found.end(), end, closes=bool(closes))
            elif not closes and name in _RAW:
                at = self._raw_end(name, at)
            elif name == "meta" and not self.generator and "generator" in text[begin:end].lower():
                self.generator = text[begin : end + 1].lower()
        self._end_row()

    def _behind(self, end: str, start: int) -> int:
        """Return where the text goes on behind a comment or a declaration."""
        at = self._text.find(end, start)
        if at < 0:
            raise self._cut_off() if end == ">" else self._hidden()
        return at + len(end)

    def _raw_end(self, name: str, start: int) -> int:
        """Return where the content of an element ends that is no HTML."""
        found = _end_tag(name).search(self._text, start)
        if found is None:
            raise self._hidden()
        return found.start()

    def _tag_end(self, start: int) -> int:
        """Return where a tag ends: at the first ``>`` outside the quotes of its attributes."""
        text = self._text
        end = text.find(">", start)
        if end < 0:
            raise self._cut_off()
        if "=" not in text[start:end]:
            return end
        at = start
        while found := _VALUE_OR_END.search(text, at):
            if found[0] == ">":
                return found.start()
            at = text.find(found[0][-1], found.end()) + 1
            if not at:
                raise self._hidden()
        raise self._cut_off()

    def _table_tag(self, name: str, begin: int, end: int, *, closes: bool) -> None:
        if name in _CELLS:
            self._end_cell()
            if not closes:
                self._begin_cell(self._text[begin:end])
        elif name == "table":
            self._leave() if closes else self._enter()
        elif name == "tr":
            self._end_row()
            if not closes:
                self._begin_row()
        else:
            self._end_row()

    def _enter(self) -> None:
        if len(self._outer) >= _DEEPEST:
            raise self._place.error(
                f"expected tables nested at most {_DEEPEST} deep, found more. The file is no report of a terminal."
            )
        self._outer.append((self._row, self._cell, self._is_hidden))
        self._row, self._cell, self._is_hidden = None, None, False

    def _leave(self) -> None:
        self._end_row()
        if self._outer:
            self._row, self._cell, self._is_hidden = self._outer.pop()

    def _begin_row(self) -> None:
        self.begun += 1
        self._row = []
        self.rows.append(self._row)

    def _end_row(self) -> None:
        self._end_cell()
        self._row = None

    def _begin_cell(self, attributes: str) -> None:
        if self._row is None:
            if not self._outer:
                return  # a cell outside of any table
            self._row = []
            self.rows.append(self._row)
        self._cell = []
        self._is_hidden = "hidden" in attributes and _has_class_hidden(attributes)

    def _end_cell(self) -> None:
        if self._cell is None:
            return
        if not self._is_hidden and self._row is not None:
            self._row.append(self._unescaped("".join(self._cell)))
        self._cell = None

    def _unescaped(self, text: str) -> str:
        if "&" not in text:
            return text
        if _LONGEST_REFERENCE.search(text):
            raise self._place.error(
                "expected characters, found a numeric reference to none. The file is damaged: export it again."
            )
        return unescape(text)

    def _cut_off(self) -> Exception:
        return self._place.error(
            "expected a tag to end, found the end of the file: the file is cut off. Export or copy it again."
        )

    def _hidden(self) -> Exception:
        return self._place.error(
            "expected every quote and comment to be closed, found one that is not: it hides the rest. "
            "The file is damaged: export it again."
        )


@lru_cache(maxsize=16)
def _end_tag(name: str) -> re.Pattern[str]:
    return re.compile(f"</{name}", re.IGNORECASE)


def _has_class_hidden(attributes: str) -> bool:
    pieces = [piece for piece in _ATTRIBUTE.findall(attributes) if piece != "="]
    for name, value in pairwise(pieces):
        if name.lower() == "class":
            return "hidden" in value.removeprefix("=").strip(" \t\r\n\"'").split()
    return False


def _refuse_cut_off(text: str, place: Place) -> None:
    """A browser closes what a cut-off file left open; here it is an error."""
    opened, closed = len(_OPENED.findall(text)), len(_CLOSED.findall(text))
    if opened > closed:
        raise place.error(
            f"expected every table to end, found {opened} tables of which {closed} end: the file is cut off. "
            "Export or copy it again."
        )


def _refuse_swallowed(written: int, parsed: int, place: Place) -> None:
    """A quote or comment that is closed too late swallows rows, without a word."""
    if parsed < written:
        raise place.error(
            f"expected {written} table rows, found {parsed}: a quote or a comment that is not closed hides the rest. "
            "The file is damaged: export it again."
        )
