"""This module is tables of cells that know their row, and the few kinds of value that a cell can hold.

A reader of a cell raises ``ValueError`` with "expected ..., found ..."; whoever knows the row turns that into a
``MalformedExport``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, TypeVar

from attrs import frozen

from ledger.clock import WALL_EPOCH
from ledger.errors import InexactNumber, MalformedExport
from ledger.values import DOUBLE_EXACT, INT64_MAX, UINT64_MAX, exact

Cell = str | int | float | bool | datetime | date | time | timedelta | None

_T = TypeVar("_T")

EXPECTED: Final = "expected a terminal report (html, xlsx) or a deal dump (csv, xlsx)"

_ZERO: Final = Decimal(0)

_PLAIN: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?", re.ASCII)
_GROUPED: Final = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d*)?", re.ASCII)
#: A sign that blanks part from its digits: spreadsheets show the terminal's own number format ``-# ##0.00`` so.
_LOOSE_SIGN: Final = re.compile(r"([+-]) +(?=[\d.])", re.ASCII)
#: Characters of the longest text that is read as a number.
_LONGEST_NUMBER: Final = 64
_WHOLE: Final = re.compile(r"(\d{1,19})(\.0*)?", re.ASCII)
_CODE: Final = re.compile(r"([+-]?\d{1,20})(?:\.0*)?", re.ASCII)
_TIME: Final = re.compile(r"(\d{4})[.-](\d\d)[.-](\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|[+-]00:?00)?", re.ASCII)
_MINUTES: Final = re.compile(r"\d{4}[.-]\d\d[.-]\d\d[ T]\d\d:\d\d", re.ASCII)
_LIKE_TIME: Final = re.compile(r"\d{4}[.-]\d\d[.-]\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?", re.ASCII)
_SHORTEST_TIME: Final = len("2024.01.02 10:00")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

#: Spaces between thousands, behind a sign and elsewhere: no-break, narrow no-break, those of a width, ideographic.
_SPACES: Final = dict.fromkeys([0x00A0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
_MINUS: Final = {**_SPACES, 0x2212: "-"}


@frozen
class Row:
    """The cells of one row; ``number`` is what a person would call it, counted from 1."""

    number: int
    cells: tuple[Cell, ...]

    def __getitem__(self, index: int) -> Cell:
        """Return a cell, None beyond the last one."""
        return self.cells[index] if index < len(self.cells) else None


@frozen
class Grid:
    """One sheet, one HTML document or one CSV file.

    ``name`` is the sheet's; ``has_exact_width`` means that all rows of a table have the same number of cells, so that one
    with fewer is cut off; ``has_own_width``, that this number is the table's own: what a spreadsheet wrote is as wide as
    its widest table. ``generator`` is what an HTML file states about its origin.
    """

    rows: tuple[Row, ...]
    name: str | None = None
    has_exact_width: bool = True
    has_own_width: bool = True
    generator: str = ""


def shown(cell: Cell) -> str:
    """Return what was found, for an error message."""
    text = as_text(cell)
    return repr(text if len(text) <= 60 else text[:57] + "...") if text else "nothing"


def as_text(cell: Cell) -> str:
    """Return a cell as text, outer blanks removed and special spaces made plain; '' for an empty one."""
    if isinstance(cell, str):
        return cell.strip() if cell.isascii() else cell.translate(_SPACES).strip()
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def to_comment(cell: Cell) -> str | None:
    """Return free text, None where there is none.

    Raises:
        ValueError: It holds a NUL character or half a surrogate pair, which nothing downstream can store.
    """
    text = as_text(cell)
    if "\x00" in text or _SURROGATE.search(text):
        raise ValueError(f"expected text, found {text[:40]!r} with characters that no text may hold")
    return text or None


def to_symbol(cell: Cell) -> str:
    """Return a symbol name.

    Raises:
        ValueError: There is none.
    """
    text = to_comment(cell)
    if text is None:
        raise ValueError("expected a symbol, found nothing")
    return text


def is_number(cell: Cell) -> bool:
    """Whether a cell can be read as a number."""
    if isinstance(cell, float):
        return True
    if isinstance(cell, str):
        return _digits(cell) is not None
    return isinstance(cell, int) and not isinstance(cell, bool)


def number_or_none(cell: Cell) -> Decimal | None:
    """Return a number exactly, None where a cell holds none that any account could hold."""
    try:
        return to_number(cell)
    except ValueError:
        return None


def to_number(cell: Cell) -> Decimal:
    """Return a number exactly; blanks between thousands are allowed, no other separator is.

    Raises:
        ValueError: Not a number, or one that no account could hold.
    """
    number = _text_number(cell) if isinstance(cell, str) else _cell_number(cell)
    if number and not -30 <= number.adjusted() < 18:
        raise ValueError(f"expected a number that fits (at most 18 digits before the point), found {shown(cell)}")
    return number


def _digits(text: str) -> str | None:
    """Return a number in plain digits, None for a text that is none."""
    if _is_plain(text):
        return text
    # Blanks around it are no part of it: no text of a cell is longer than a few characters without them.
    text = text.strip()
    if len(text) > _LONGEST_NUMBER:
        return None
    text = _LOOSE_SIGN.sub(r"\1", text.translate(_MINUS).strip(), count=1)
    if _GROUPED.fullmatch(text):
        return text.replace(" ", "")
    return text if _is_plain(text) else None


def _is_plain(text: str) -> bool:
    return len(text) <= _LONGEST_NUMBER and _PLAIN.fullmatch(text) is not None


def _text_number(cell: str) -> Decimal:
    if len(cell) <= _LONGEST_NUMBER:
        return _short_number(cell)
    return _short_number(cell.strip()[: _LONGEST_NUMBER + 1])


@lru_cache(maxsize=4096)
def _short_number(cell: str) -> Decimal:
    digits = _digits(cell)
    if digits is None:
        raise ValueError(
            f"expected a number such as 1 234.56, found {_not_a_number(as_text(cell))}. "
            "Export again without editing numbers, with a point before the decimals."
        )
    try:
        return Decimal(digits)
    except InvalidOperation:  # more digits than any arithmetic context allows
        raise ValueError(f"expected a number that fits, found {shown(cell)}") from None


def _not_a_number(text: str) -> str:
    if text.startswith("="):
        return f"the formula {shown(text)}, which is not computed here (paste its value instead)"
    return shown(text)


def _cell_number(cell: Cell) -> Decimal:
    if isinstance(cell, float):
        return _double(cell)
    if isinstance(cell, bool) or not isinstance(cell, int):
        raise ValueError(f"expected a number, found {shown(cell)}")  # noqa: TRY004  # one error for all bad cells
    return Decimal(cell)


@lru_cache(maxsize=4096)
def _double(cell: float) -> Decimal:
    if not cell:
        return _ZERO  # the cache does not distinguish 0.0 from -0.0
    try:
        return exact(cell)
    except InexactNumber as error:
        raise ValueError(str(error)) from None


def to_unsigned(cell: Cell) -> Decimal:
    """Return a number from 0 on.

    Raises:
        ValueError: Not a number, or a negative one.
    """
    number = to_number(cell)
    if number < 0:
        raise ValueError(f"expected a number without a sign, found {shown(cell)}")
    return number


def to_volume(cell: Cell) -> Decimal:
    """Return a volume in lots.

    Raises:
        ValueError: Not a number above 0.
    """
    number = to_number(cell)
    if number <= 0:
        raise ValueError(f"expected a volume above 0, found {shown(cell)}")
    return number


def to_ticket_or_none(cell: Cell) -> int | None:
    """Return a ticket, None where the file has 0 or nothing.

    Raises:
        ValueError: Not a whole number, too large, or a double that may have lost its last digits.
    """
    if cell is None or cell == "":
        return None
    found = _WHOLE.fullmatch(as_text(cell)) if not isinstance(cell, (bool, float)) else None
    whole = int(found[1]) if found else int(cell) if isinstance(cell, float) and cell.is_integer() else -1
    if isinstance(cell, float) or (found and found[2]):
        _refuse_inexact_ticket(cell, whole)
    if not 0 <= whole <= INT64_MAX:
        raise ValueError(f"expected a ticket (a whole number), found {shown(cell)}")
    return whole or None


def _refuse_inexact_ticket(cell: Cell, whole: int) -> None:
    if whole > DOUBLE_EXACT:
        raise ValueError(
            f"expected a ticket, found {shown(cell)}: above 2^53 this file format cannot distinguish neighbouring tickets "
            "apart. Export the same history as HTML."
        )


def to_ticket(cell: Cell) -> int:
    """Return a ticket.

    Raises:
        ValueError: There is none, or it is not one.
    """
    ticket = to_ticket_or_none(cell)
    if ticket is None:
        raise ValueError(f"expected a ticket (a whole number above 0), found {shown(cell)}")
    return ticket


def to_magic_number(cell: Cell) -> int:
    """Return a magic number: 64 bits, unsigned as the terminal shows it, or signed.

    Raises:
        ValueError: As ``to_code``.
    """
    return to_code(cell, high=UINT64_MAX)


def to_code(cell: Cell, *, high: int = INT64_MAX) -> int:
    """Return a signed whole number: a reason, a deal type.

    Raises:
        ValueError: Not a whole number of 64 bits, or a double that may have lost its last digits.
    """
    whole = None
    if isinstance(cell, (int, str)) and not isinstance(cell, bool):
        found = _CODE.fullmatch(as_text(cell))
        whole = int(found[1]) if found else None
    elif isinstance(cell, float) and cell.is_integer() and abs(cell) <= DOUBLE_EXACT:
        whole = int(cell)
    if whole is None or not -INT64_MAX - 1 <= whole <= high:
        raise ValueError(f"expected a whole number, found {shown(cell)}")
    return whole


def is_time(cell: Cell) -> bool:
    """Whether a cell looks like the time that begins a row of a table; minutes are enough (working orders)."""
    if isinstance(cell, str):
        return len(cell) >= _SHORTEST_TIME and bool(_LIKE_TIME.fullmatch(as_text(cell)))
    return isinstance(cell, datetime)


def is_without_seconds(cell: Cell) -> bool:
    """Whether a time ends with its minutes, as testers of 2016 write it."""
    return isinstance(cell, str) and bool(_MINUTES.fullmatch(as_text(cell)))


def to_minute_msc(cell: Cell) -> int:
    """Return a time without seconds as the beginning of its minute, else as ``to_time_msc``.

    Raises:
        ValueError: As ``to_time_msc``.
    """
    return to_time_msc(f"{as_text(cell)}:00" if is_without_seconds(cell) else cell)


def to_time_msc(cell: Cell) -> int:
    """Return a server wall clock time in milliseconds since 1970, as if it were UTC.

    Raises:
        ValueError: Not ``YYYY.MM.DD HH:MM:SS`` (or with dashes), or a time that no calendar has.
    """
    if isinstance(cell, datetime):
        return _msc(cell)
    found = _TIME.fullmatch(as_text(cell))
    if not found:
        raise ValueError(f"expected a time YYYY.MM.DD HH:MM:SS, found {shown(cell)}")
    *whole, fraction = found.groups()
    try:
        moment = datetime(*map(int, whole))  # type: ignore[arg-type]  # noqa: DTZ001  # a wall clock has no zone
    except ValueError as error:
        raise ValueError(f"expected a time, found {shown(cell)}: {error}") from None
    return _msc(moment) + int((fraction or "").ljust(3, "0")[:3])


def _msc(moment: datetime) -> int:
    time_msc = (moment.replace(tzinfo=None) - WALL_EPOCH) // timedelta(milliseconds=1)
    if time_msc < 0:
        raise ValueError(f"expected a time since 1970, found {moment}")
    return time_msc


@frozen
class Place:
    """Where an error is: the file as the caller named it, and the sheet."""

    file: str
    sheet: str | None = None

    def error(self, message: str, row: int | None = None, column: str | None = None) -> MalformedExport:
        """Return the error that names the place."""
        where = f"sheet {self.sheet!r}: " if self.sheet else ""
        return MalformedExport(where + message, file=self.file, row=row, column=column)

    def read(self, row: Row, column: str, index: int, convert: Callable[[Cell], _T]) -> _T:
        """Read one cell.

        Raises:
            MalformedExport: The cell is not what its column holds.
        """
        try:
            return convert(row[index])
        except ValueError as error:
            raise self.error(str(error), row.number, column) from None
