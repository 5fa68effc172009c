"""This module is the report of a terminal or of the strategy tester: its tables, its account line, its figures.

Reports are written in the user's language, so no header is read. A row is recognised by what is in it: a time and a
ticket to begin with, then the words that are English everywhere (``buy``, ``in``, ``out by``) and the kinds of value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from typing import Final

from attrs import define, field, frozen

from ledger.errors import BadValue
from ledger.imports.cells import (
    Cell,
    Grid,
    Place,
    Row,
    as_text,
    is_number,
    is_time,
    is_without_seconds,
    number_or_none,
    shown,
    to_comment,
    to_minute_msc,
    to_number,
    to_symbol,
    to_ticket,
    to_ticket_or_none,
    to_time_msc,
    to_unsigned,
    to_volume,
)
from ledger.imports.deal_types import CURRENCIES, deal_type
from ledger.imports.results import read_results
from ledger.imports.statement import ClosedRow, DealRow, Kind, OpenRow, Statement
from ledger.values import ENTRY_WORDS, INT64_MAX, TRADES, Entry, MarginMode, Side, to_margin_mode, to_side

_ZERO: Final = Decimal(0)
_TWO_VOLUMES: Final = re.compile(r"([\d. ]+)/([\d. ]+)")
_WORD: Final = re.compile(r"[^\W\d_][^\d]*")
_ACCOUNT: Final = re.compile(r"(\d{1,19})\s*\((.+)\)")
_BUILD: Final = re.compile(r"\(build \d{1,9}\)$", re.IGNORECASE)
#: Numbers that a row with a type has to have to be taken for a damaged row of deals.
_FIGURES_OF_A_ROW: Final = 3
#: Cells of the widest row of account figures: a spreadsheet's rows are padded.
_WIDEST_FIGURES: Final = 64
#: Cells of the narrowest table: a row of orders without its empty columns.
_NARROWEST: Final = 10
#: Characters of the longest cell that can be an account line or name a build.
_LONGEST_LINE: Final = 512


class _Table(Enum):
    """The tables that a report has, by the kind of their rows."""

    DEALS = "deals"
    CLOSED = "closed positions"
    OPEN = "open positions"
    ORDERS = "orders"


# ------------------------------------------------------------------------------------------------------------ which row


def _table_of(row: Row) -> _Table | None:
    """Return the table that a row with a time at its beginning belongs to."""
    trades = as_text(row[3]).lower() in ("buy", "sell")
    has_two_volumes = bool(_TWO_VOLUMES.fullmatch(as_text(row[4])))
    for index in (8, 9):
        # An order has a time there as well, but two volumes before it and its state behind it: "filled".
        if trades and is_time(row[index]) and (is_number(row[index + 1]) or not has_two_volumes):
            return _Table.CLOSED
    if has_two_volumes:
        return _Table.ORDERS
    if trades and is_number(row[4]):
        return _Table.OPEN
    return _Table.DEALS if _WORD.fullmatch(as_text(row[3])) else None


def is_report_row(row: Row) -> bool:
    """Whether a row is one of a report's tables: a time, a ticket, and what makes it a row of one of them."""
    return is_time(row[0]) and len(row.cells) >= _NARROWEST and _is_ticket(row[1]) and _table_of(row) is not None


def _is_ticket(cell: Cell) -> bool:
    try:
        return to_ticket_or_none(cell) is not None
    except ValueError:
        return False


def _lacks_its_time(row: Row) -> bool:
    """Whether a row without a time has a type and figures all the same: a damaged row, not a heading or a total."""
    if len(row.cells) < _FIGURES_OF_A_ROW:
        return False
    has_type = any(isinstance(cell, str) and deal_type(as_text(cell)) is not None for cell in row.cells[:5])
    return has_type and sum(map(is_number, row.cells)) >= _FIGURES_OF_A_ROW


@define
class _Tables:
    """The rows of a report, sorted into its tables, with the sheet each came from."""

    deals: list[tuple[Place, list[Row]]] = field(factory=list)
    closed: list[tuple[Place, Row]] = field(factory=list)
    open: list[tuple[Place, Row]] = field(factory=list)
    orders: int = 0
    others: list[tuple[Place, Row]] = field(factory=list)

    def add(self, grid: Grid, place: Place) -> None:
        """Sort the rows of one grid.

        Raises:
            MalformedExport: A row has a time, or a ticket and a type, and fits no table.
        """
        deals: list[Row] = []
        above: _Table | None = None
        before = 0
        for row in grid.rows:
            # A spreadsheet's empty rows are not in the grid: they part tables all the same.
            table = self._place_in_table(row, above if row.number == before + 1 else None, place)
            before = row.number
            if table is _Table.DEALS:
                deals.append(row)
            elif table is _Table.CLOSED:
                self.closed.append((place, row))
            elif table is _Table.OPEN:
                self.open.append((place, row))
            elif table is _Table.ORDERS:
                self.orders += 1
            else:
                self.others.append((place, row))
            above = table
        if deals:
            self.deals.append((place, deals))

    @staticmethod
    def _place_in_table(row: Row, above: _Table | None, place: Place) -> _Table | None:
        if not is_time(row[0]):
            if _lacks_its_time(row):
                raise place.error(
                    f"expected a time YYYY.MM.DD HH:MM:SS to begin the row, found {shown(row[0])}. "
                    "The row is damaged: export the report again.",
                    row.number,
                    "time",
                )
            return None
        table = _table_of(row)
        if above is not None and table is not above:
            raise place.error(
                f"expected a row of the table of {above.value}, found one that does not look like those above it. "
                "The row is damaged: export the report again.",
                row.number,
            )
        if table is None and sum(bool(as_text(cell)) for cell in row.cells) >= 6:
            raise place.error(
                "expected a row of deals, positions or orders after a time, found a row of no known table. "
                "Export the report again.",
                row.number,
            )
        return table


# ---------------------------------------------------------------------------------------------------------------- deals


@frozen
class _Columns:
    """Where a deals table has its money. The columns before are the same in all builds."""

    commission: int
    fee: int | None
    swap: int
    profit: int
    balance: int
    comment: int
    hidden: int | None = None

    @property
    def money(self) -> Iterator[int]:
        """The columns that every row fills with a number."""
        return (i for i in (self.commission, self.fee, self.swap, self.profit, self.balance) if i is not None)


#: By the number of cells: builds to about 2021 (and testers), builds since, and those with a hidden Cost column shown.
_LAYOUTS: Final = {
    13: _Columns(commission=8, fee=None, swap=9, profit=10, balance=11, comment=12),
    14: _Columns(commission=8, fee=9, swap=10, profit=11, balance=12, comment=13),
    15: _Columns(commission=9, fee=10, swap=11, profit=12, balance=13, comment=14, hidden=8),
}


def _layout_by_width(rows: Sequence[Row], place: Place, *, has_own_width: bool) -> _Columns:
    """Take the layout from the number of cells, which is the same in every row.

    Raises:
        MalformedExport: It is not, or no table of deals has so many cells.
    """
    width = len(rows[0].cells)
    if width < min(_LAYOUTS) or (has_own_width and width not in _LAYOUTS):
        raise place.error(
            f"expected a row of deals to have 13, 14 or 15 cells, found {width}. The table is damaged or cut off: "
            "export the report again.",
            rows[0].number,
        )
    for row in rows:
        if len(row.cells) != width:
            raise place.error(
                f"expected {width} cells as in the rows above, found {len(row.cells)}. The table is damaged or cut "
                "off: export the report again.",
                row.number,
            )
    return _LAYOUTS[min(width, max(_LAYOUTS))]


#: Rows that show the layout of a table; one in which these carry a Balance on by chance does not exist.
_SAMPLE: Final = 200


def _layout_by_content(rows: Sequence[Row]) -> _Columns:
    """Take the layout that the figures prove, as a spreadsheet's width means nothing.

    Best is one in which most rows carry the Balance on from the row above; where none is better in that, one with numbers
    in its money columns; then one whose Balance is stored as numbers (a comment may look like one); then the wider one.
    """
    sample = rows[:_SAMPLE]
    return max(reversed(_LAYOUTS.values()), key=lambda layout: _proof(sample, layout))


def _proof(rows: Sequence[Row], layout: _Columns) -> tuple[int, int, int]:
    """Return how many rows carry the Balance on, are filled, and have a Balance that is stored as a number."""
    figures = [_money_and_balance(row, layout) for row in rows]
    carried = sum(
        before is not None and now is not None and abs(before[1] + now[0] - now[1]) < Decimal("0.005")
        for before, now in pairwise(figures)
    )
    stored = sum(isinstance(row[layout.balance], (int, float)) for row in rows)
    return carried, sum(figure is not None for figure in figures), stored


def _money_and_balance(row: Row, layout: _Columns) -> tuple[Decimal, Decimal] | None:
    """Return what a row moves and what is there after it, None where its cells do not fill the layout."""
    if layout.hidden is not None and as_text(row[layout.hidden]):
        return None
    numbers = [number for index in layout.money if (number := number_or_none(row[index])) is not None]
    if len(numbers) < len(tuple(layout.money)):
        return None
    *money, balance = numbers
    return sum(money, _ZERO), balance


def _deals(tables: _Tables, grids: Iterable[Grid], *, is_terminal: bool) -> Iterator[DealRow]:
    """Read all deals, in file order."""
    by_name = {grid.name: grid for grid in grids}
    read_time = _time_reader(tables, is_terminal=is_terminal)
    first: dict[int, int] = {}
    for place, rows in tables.deals:
        layout = _layout(rows, by_name[place.sheet], place)
        for row in rows:
            deal = _deal(row, layout, place, read_time)
            if deal.deal in first:
                raise place.error(
                    f"expected every deal once, found deal {deal.deal} in row {first[deal.deal]} already. "
                    "Export the report again, one period at a time.",
                    row.number,
                    "deal",
                )
            first[deal.deal] = row.number
            yield deal


def _layout(rows: Sequence[Row], grid: Grid, place: Place) -> _Columns:
    if not grid.has_exact_width:
        return _layout_by_content(rows)
    by_width = _layout_by_width(rows, place, has_own_width=grid.has_own_width)
    return by_width if grid.has_own_width else _layout_by_content(rows)


def _time_reader(tables: _Tables, *, is_terminal: bool) -> Callable[[Cell], int]:
    """Return what reads the time of a deal.

    Testers of 2016 write every time without seconds. A terminal never does: there the seconds were lost on the way, and
    with them what shows whether a deal is a known one.
    """
    times = (row[0] for _, rows in tables.deals for row in rows)
    return to_minute_msc if not is_terminal and all(map(is_without_seconds, times)) else to_time_msc


def _deal(row: Row, layout: _Columns, place: Place, read_time: Callable[[Cell], int]) -> DealRow:
    read = place.read
    word = as_text(row[3])
    code = deal_type(word)
    trades = code in TRADES
    symbol = read(row, "symbol", 2, to_symbol if trades else to_comment)
    is_money_only = not trades and symbol is None
    return DealRow(
        row=row.number,
        time_msc=read(row, "time", 0, read_time),
        deal=read(row, "deal", 1, to_ticket),
        symbol=symbol,
        type=code,
        word=read(row, "type", 3, to_comment) if code is None else None,
        entry=None if is_money_only else read(row, "direction", 4, _to_entry if trades else _to_entry_or_none),
        volume=read(row, "volume", 5, to_volume if trades else _to_size_or_none),
        price=read(row, "price", 6, to_number if trades else _to_size_or_none),
        order=read(row, "order", 7, to_ticket_or_none),
        commission=read(row, "commission", layout.commission, to_number),
        # Builds without the column had no fees: there the Balance column is carried on without one.
        fee=_ZERO if layout.fee is None else read(row, "fee", layout.fee, to_number),
        swap=read(row, "swap", layout.swap, to_number),
        profit=read(row, "profit", layout.profit, to_number),
        balance=read(row, "balance", layout.balance, to_number),
        comment=read(row, "comment", layout.comment, to_comment),
    )


def _to_entry(cell: Cell) -> Entry:
    entry = ENTRY_WORDS.get(as_text(cell).lower())
    if entry is None:
        raise ValueError(f"expected a direction ({', '.join(ENTRY_WORDS)}), found {shown(cell)}")
    return entry


def _to_entry_or_none(cell: Cell) -> Entry | None:
    return _to_entry(cell) if as_text(cell) else None


def _to_size_or_none(cell: Cell) -> Decimal | None:
    """Read a volume or price of a deal that is no trade: nothing, or 0 in its place."""
    return to_unsigned(cell) or None if as_text(cell) else None


# ------------------------------------------------------------------------------------------------------------ positions


def _closed(row: Row, place: Place) -> ClosedRow:
    """Read a closed position. A hidden comment after the type, where shown, moves the rest on by one."""
    shift = 0 if is_time(row[8]) else 1
    read = place.read
    volume, volume_opened = read(row, "volume", 4 + shift, _to_closed_volumes)
    return ClosedRow(
        row=row.number,
        opened_msc=read(row, "time", 0, to_time_msc),
        position_id=read(row, "position", 1, to_ticket),
        symbol=read(row, "symbol", 2, to_symbol),
        side=read(row, "type", 3, _to_side),
        volume=volume,
        volume_opened=volume_opened,
        price_open=read(row, "open price", 5 + shift, to_number),
        closed_msc=read(row, "close time", 8 + shift, to_time_msc),
        price_close=read(row, "close price", 9 + shift, to_number),
        commission=read(row, "commission", 10 + shift, to_number),
        swap=read(row, "swap", 11 + shift, to_number),
        profit=read(row, "profit", 12 + shift, to_number),
    )


def _to_closed_volumes(cell: Cell) -> tuple[Decimal, Decimal | None]:
    """Read ``0.05``, or ``0.02 / 0.05`` of a position of which 0.02 are closed and the rest is still open."""
    both = _TWO_VOLUMES.fullmatch(as_text(cell))
    return (to_volume(both[1]), to_volume(both[2])) if both else (to_volume(cell), None)


def _open(row: Row, place: Place) -> OpenRow:
    """Read an open position. Merged columns leave blanks before profit and comment."""
    rest = [index for index in range(10, 14) if as_text(row[index])]
    profit = rest[0] if rest else 10
    read = place.read
    return OpenRow(
        row=row.number,
        opened_msc=read(row, "time", 0, to_time_msc),
        ticket=read(row, "position", 1, to_ticket),
        symbol=read(row, "symbol", 2, to_symbol),
        side=read(row, "type", 3, _to_side),
        volume=read(row, "volume", 4, to_volume),
        price_open=read(row, "price", 5, to_number),
        swap=read(row, "swap", 9, to_number),
        profit=read(row, "profit", profit, to_number),
        comment=read(row, "comment", rest[1], to_comment) if len(rest) > 1 else None,
    )


def _to_side(cell: Cell) -> Side:
    try:
        return to_side(as_text(cell))
    except BadValue as error:
        raise ValueError(str(error)) from None


# -------------------------------------------------------------------------------------------------- account and figures


@frozen
class _Account:
    """The account line: ``login (currency, server, demo|real, Hedge|Netting)``.

    Builds to about 2016 have the leverage (``1:100``) before the server, and no mode.
    """

    login: int
    currency: str | None
    server: str | None
    mode: MarginMode | None


def _account(cell: Cell) -> _Account | None:
    if not isinstance(cell, str) or "(" not in cell or len(cell) > _LONGEST_LINE:
        return None
    found = _ACCOUNT.fullmatch(as_text(cell))
    if not found or "," not in found[2] or int(found[1]) > INT64_MAX:
        return None
    currency, *rest = (part.strip() for part in found[2].split(","))
    if rest and re.fullmatch(r"\d+:\d+", rest[0]):
        del rest[0]
    mode = None
    if len(rest) > 1:
        try:
            mode = to_margin_mode(rest[-1])
        except BadValue:
            mode = None
    return _Account(int(found[1]), currency or None, rest[0] if rest and rest[0] else None, mode)


def _only_account(rows: Iterable[tuple[Place, Row]]) -> _Account | None:
    """Return the account that the header block names.

    Raises:
        MalformedExport: Two sheets name two accounts.
    """
    only: _Account | None = None
    for place, row in rows:
        for cell in row.cells:
            account = _account(cell)
            if account is None:
                continue
            if only is not None and account != only:
                raise place.error(
                    f"expected one account in the file, found {only.login} and {account.login}. "
                    "Keep the report of each account in a file of its own.",
                    row.number,
                )
            only = account
    return only


def _figures(rows: Sequence[tuple[Place, Row]]) -> tuple[Decimal | None, Decimal | None]:
    """Return balance and credit of the block of account figures, None where it is absent.

    The block is three rows of two labels with a figure each (balance, credit, floating result; free margin, margin,
    margin level) and a fourth row of one (equity). Nothing else in a report has this form.
    """
    filled = [_filled(row) for _, row in rows]
    for start in range(len(rows) - 3):
        if filled[start : start + 4] != [4, 4, 4, 2]:
            continue
        block = [[cell for cell in row.cells if as_text(cell)] for _, row in rows[start : start + 4]]
        if all(map(_is_figure_row, block)):
            return number_or_none(block[0][1]), number_or_none(block[1][1])
    return None, None


def _filled(row: Row) -> int:
    """Return how many cells of a row hold something; of a row that is too wide for figures, not all are looked at."""
    if len(row.cells) > _WIDEST_FIGURES:
        return len(row.cells)
    return sum(1 for cell in row.cells if cell is not None and cell != "" and as_text(cell))


def _is_figure_row(cells: list[Cell]) -> bool:
    """Whether labels and figures alternate; the last figure may be a percentage."""
    labels, figures = cells[::2], cells[1::2]
    numbers = (number_or_none(as_text(figure).removesuffix("%")) for figure in figures)
    return not any(map(is_number, labels)) and None not in numbers


# ------------------------------------------------------------------------------------------------------------ the whole


def read_report(grids: tuple[Grid, ...], place: Place) -> Statement:
    """Read a report from its grids.

    Raises:
        MalformedExport: It is no report, has no deals although it should, or a row of a table cannot be read.
    """
    tables = _Tables()
    for grid in grids:
        tables.add(grid, Place(place.file, grid.name))
    account = _only_account(tables.others)
    kind = _kind(grids, tables, account)
    deals = tuple(_deals(tables, grids, is_terminal=account is not None))
    if not deals:
        _refuse_without_deals(tables, account, place)
    balance, credit = _figures(tables.others)
    return Statement(
        file=place.file,
        kind=kind,
        server=account.server if account else None,
        login=account.login if account else None,
        currency=account.currency if account else _tester_currency(tables.others),
        mode=account.mode if account else None,
        deals=deals,
        closed=tuple(_closed(row, where) for where, row in tables.closed) or None,
        open=tuple(_open(row, where) for where, row in tables.open) or None,
        balance=balance,
        credit=credit,
        results=read_results(tables.others, kind),
    )


def _tester_currency(rows: Sequence[tuple[Place, Row]]) -> str | None:
    """Return the currency that a tester report states in a row of its own: a label, and nothing but the code."""
    found = set()
    for _, row in rows:
        cells = [as_text(cell) for cell in row.cells if as_text(cell)]
        if len(cells) == 2 and cells[0].endswith((":", "\uff1a")) and cells[1] in CURRENCIES:
            found.add(cells[1])
    return found.pop() if len(found) == 1 else None


def _kind(grids: tuple[Grid, ...], tables: _Tables, account: _Account | None) -> Kind:
    """A tester names itself in its HTML, and names the terminal's build or the currency where a terminal names the account."""
    if any("strategy tester" in grid.generator for grid in grids):
        return "tester"
    if account is None and _tester_currency(tables.others) is not None:
        return "tester"
    head = tables.others[:10]
    return "tester" if any(_names_build(cell) for _, row in head for cell in row.cells) else "report"


def _names_build(cell: Cell) -> bool:
    return isinstance(cell, str) and len(cell) <= _LONGEST_LINE and _BUILD.search(as_text(cell)) is not None


def _refuse_without_deals(tables: _Tables, account: _Account | None, place: Place) -> None:
    """A new account has no deals; a report of anything else is not complete."""
    if account is not None and not tables.closed:
        return
    found = [
        f"{count} rows of {table.value}"
        for table, count in (
            (_Table.CLOSED, len(tables.closed)),
            (_Table.OPEN, len(tables.open)),
            (_Table.ORDERS, tables.orders),
        )
        if count
    ]
    raise place.error(
        "expected a terminal report (html, xlsx) or a deal dump (csv, xlsx) with a table of deals, found "
        + (f"only {' and '.join(found)}" if found else "no table of a report and no field names of a dump")
        + ". In the terminal's history, show deals (or positions and deals) and export the report."
    )
