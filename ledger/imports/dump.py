"""This module is dumps of ``history_deals_get`` that users wrote with their own scripts: columns found by field name.

Extra columns are let pass. A column that is missing means that its field is unknown; a few have to be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, Never, TypeVar

from attrs import frozen

from ledger.errors import BadValue
from ledger.imports.cells import (
    Cell,
    Grid,
    Place,
    Row,
    as_text,
    is_number,
    shown,
    to_code,
    to_comment,
    to_magic_number,
    to_number,
    to_symbol,
    to_ticket,
    to_ticket_or_none,
    to_time_msc,
    to_unsigned,
    to_volume,
)
from ledger.imports.deal_types import deal_type
from ledger.imports.report import is_report_row
from ledger.imports.statement import DealRow, Statement
from ledger.values import TRADES, Entry, to_entry

#: Fields of MT5's deal, order and position records (MQL5 Python API), to recognise a dump and its kind.
_DEAL: Final = frozenset(
    [
        "ticket",
        "order",
        "time",
        "time_msc",
        "type",
        "entry",
        "magic",
        "position_id",
        "reason",
        "volume",
        "price",
        "commission",
        "swap",
        "profit",
        "fee",
        "symbol",
        "comment",
        "external_id",
    ]
)
_ORDER: Final = frozenset(
    [
        "time_setup",
        "time_setup_msc",
        "time_done",
        "time_done_msc",
        "time_expiration",
        "type_time",
        "type_filling",
        "state",
        "position_by_id",
        "volume_initial",
        "volume_current",
        "price_stoplimit",
    ]
)
_POSITION: Final = frozenset(["identifier", "time_update", "time_update_msc", "price_open", "price_current", "sl", "tp"])
#: Fields of a deal that no header of a report has, in any language.
_ONLY_IN_DUMPS: Final = frozenset(["time_msc", "position_id", "entry", "external_id"])
#: Rows under a header that show what it is the header of.
_ROWS_SHOW: Final = 20
_DEMANDED: Final = ("ticket", "type", "entry", "symbol", "volume", "price", "profit", "position_id")

#: Seconds since 1970 stay below this until the year 5138, milliseconds have been above it since 1973.
_SECONDS_END: Final = 10**11
_MISSING_WORDS: Final = frozenset({"", "nan", "none", "null", "nat", "<na>", "n/a"})

_T = TypeVar("_T")


def _header(grid: Grid) -> tuple[Row, dict[str, int]] | None:
    """Return the header row and field -> column; None where no row begins the grid with MT5's field names.

    A report whose title rows were cut off begins with names too, some of which are field names in English.
    """
    for at, row in enumerate(grid.rows[:20]):
        names = [as_text(cell).lower().removeprefix("\ufeff") for cell in row.cells]
        if not any(names):
            continue
        known = (_DEAL | _ORDER | _POSITION).intersection(names)
        if len(known) < 4 or (len(known) < 6 and "ticket" not in known):
            return None
        if not known & _ONLY_IN_DUMPS and any(map(is_report_row, grid.rows[at + 1 : at + _ROWS_SHOW])):
            return None
        columns: dict[str, int] = {}
        for index, name in enumerate(names):
            if name:
                columns.setdefault(name, index)
        return row, columns
    return None


def is_dump(grid: Grid) -> bool:
    """Whether a grid begins with MT5's field names."""
    return _header(grid) is not None


def read_dump(grids: tuple[Grid, ...], place: Place) -> Statement:
    """Read every sheet that holds deals.

    Raises:
        MalformedExport: No sheet holds deals, a demanded column is missing, or a row cannot be read.
    """
    refused = []
    deals: list[DealRow] = []
    read = 0
    for grid in grids:
        header = _header(grid)
        if header is None:
            continue
        row, columns = header
        here = Place(place.file, grid.name)
        complaint = _complaint(columns)
        if complaint:
            refused.append(here.error(complaint, row.number))
            continue
        _refuse_double_columns(row, here)
        read += 1
        deals += _deals(grid, row, columns, here)
    if not read:
        raise refused[0]
    _refuse_duplicates(deals, place)
    return Statement(file=place.file, kind="dump", deals=tuple(deals))


def _complaint(columns: Mapping[str, int]) -> str:
    """Say why these columns are no deals; '' where they are."""
    missing = [name for name in _DEMANDED if name not in columns]
    if "time" not in columns and "time_msc" not in columns:
        missing.insert(0, "time or time_msc")
    if not missing:
        return ""
    expected = "expected a dump of deals (history_deals_get)"
    if len(_ORDER.intersection(columns)) >= 2:
        return f"{expected}, found what looks like a dump of orders (history_orders_get): only deals move an account."
    if "entry" not in columns and len(_POSITION.intersection(columns)) >= 2:
        return (
            f"{expected}, found what looks like a dump of positions (positions_get): it lists what is open, not how it "
            "came about."
        )
    return f"{expected}, found one without {', '.join(missing)}. Write all fields of the deals."


def _refuse_double_columns(header: Row, place: Place) -> None:
    count = Counter(as_text(cell).lower() for cell in header.cells)
    for name, times in count.items():
        if name in _DEAL and times > 1:
            raise place.error(f"expected every field once, found {name!r} {times} times.", header.number, name)


def _refuse_duplicates(deals: list[DealRow], place: Place) -> None:
    first: dict[int, int] = {}
    for deal in deals:
        if deal.deal in first:
            raise place.error(
                f"expected every deal once, found deal {deal.deal} in row {first[deal.deal]} already. "
                "Write the dump of one period only.",
                deal.row,
                "ticket",
            )
        first[deal.deal] = deal.row


def _deals(grid: Grid, header: Row, columns: Mapping[str, int], place: Place) -> list[DealRow]:
    deals = []
    for row in grid.rows:
        if row.number <= header.number or not any(as_text(cell) for cell in row.cells):
            continue
        if grid.has_exact_width and len(row.cells) != len(header.cells):
            raise place.error(
                f"expected {len(header.cells)} cells as in the header, found {len(row.cells)}. The file is cut off, or "
                "a comment holds the delimiter without quotes around it.",
                row.number,
            )
        deals.append(_deal(_Fields(row, columns, place)))
    return deals


@frozen
class _Fields:
    """One row, read by field name."""

    row: Row
    columns: Mapping[str, int]
    place: Place

    def cell(self, name: str) -> Cell:
        index = self.columns.get(name)
        cell = None if index is None else self.row[index]
        return None if isinstance(cell, str) and cell.strip().lower() in _MISSING_WORDS else cell

    def need(self, name: str, convert: Callable[[Cell], _T]) -> _T:
        """Read a field that has to be there."""
        try:
            return convert(self.cell(name))
        except ValueError as error:
            raise self.place.error(str(error), self.row.number, name) from None

    def may(self, name: str, convert: Callable[[Cell], _T]) -> _T | None:
        """Read a field that may be unknown."""
        return None if self.cell(name) is None else self.need(name, convert)


def _deal(fields: _Fields) -> DealRow:
    code, word = fields.need("type", _type)
    volume = fields.may("volume", to_unsigned)
    if word is not None and volume and fields.may("symbol", to_comment) is not None:
        fields.need("type", _refuse_unknown)  # it may be a trade, and a trade is never taken for a cash movement
    trades = code in TRADES
    symbol = fields.need("symbol", to_symbol) if trades else fields.may("symbol", to_comment)
    is_money_only = not trades and symbol is None
    return DealRow(
        row=fields.row.number,
        time_msc=_time_msc(fields),
        deal=fields.need("ticket", to_ticket),
        order=fields.may("order", to_ticket_or_none),
        symbol=symbol,
        type=code,
        word=word,
        entry=None if is_money_only else fields.need("entry", _entry) if trades else fields.may("entry", _entry),
        volume=fields.need("volume", to_volume) if trades else _nothing_if_zero(volume),
        price=fields.need("price", to_number) if trades else _nothing_if_zero(fields.may("price", to_number)),
        commission=fields.may("commission", to_number),
        fee=fields.may("fee", to_number),
        swap=fields.may("swap", to_number),
        profit=fields.need("profit", to_number),
        comment=fields.may("comment", to_comment),
        position_id=fields.may("position_id", to_ticket_or_none),
        magic=fields.may("magic", to_magic_number),
        reason=fields.may("reason", _reason),
        external_id=fields.may("external_id", to_comment),
    )


def _nothing_if_zero(number: Decimal | None) -> Decimal | None:
    """MT5 writes 0 where a deal that is no trade has no volume and no price."""
    return number or None


def _type(cell: Cell) -> tuple[int | None, str | None]:
    """Return code and None for a known type, None and the word for another."""
    if is_number(cell):
        code = to_code(cell)
        if not 0 <= code < 2**31:
            raise ValueError(f"expected a deal type (0 buy, 1 sell, 2 balance, ...), found {shown(cell)}")
        return code, None
    word = to_comment(cell)
    if word is None:
        raise ValueError("expected a deal type (0 buy, 1 sell, 2 balance, ...), found nothing")
    code_or_none = deal_type(word)
    return code_or_none, None if code_or_none is not None else word


def _refuse_unknown(cell: Cell) -> Never:
    raise ValueError(f"expected a deal type (0 buy, 1 sell, 2 balance, ... or its word), found {shown(cell)}")


def _entry(cell: Cell) -> Entry | int:
    """Return an entry from a code, a word, or the name of MT5's constant."""
    try:
        if is_number(cell):
            return to_entry(to_code(cell))
        word = as_text(cell).lower().removeprefix("deal_entry_")
        return to_entry({"inout": "in/out", "out_by": "out by"}.get(word, word))
    except (BadValue, ValueError):
        raise ValueError(f"expected an entry (0 in, 1 out, 2 in/out, 3 out by), found {shown(cell)}") from None


def _reason(cell: Cell) -> int:
    code = to_code(cell)
    if not 0 <= code < 2**31:
        raise ValueError(f"expected a reason code from 0 on, found {shown(cell)}")
    return code


def _time_msc(fields: _Fields) -> int:
    """Prefer ``time_msc``; it is 0 where a script or an old server had none."""
    milliseconds = fields.may("time_msc", _milliseconds)
    return milliseconds or fields.need("time" if "time" in fields.columns else "time_msc", _seconds_or_text)


def _milliseconds(cell: Cell) -> int:
    if not is_number(cell):
        return to_time_msc(cell)
    milliseconds = to_code(cell)
    if 0 < milliseconds < _SECONDS_END or not 0 <= milliseconds < _SECONDS_END * 1000:
        raise ValueError(f"expected milliseconds since 1970, found {shown(cell)}")
    return milliseconds


def _seconds_or_text(cell: Cell) -> int:
    if not is_number(cell):
        return to_time_msc(cell)
    seconds = to_code(cell)
    if not 0 < seconds < _SECONDS_END:
        raise ValueError(f"expected seconds since 1970, found {shown(cell)} (milliseconds belong into a column time_msc)")
    return seconds * 1000
