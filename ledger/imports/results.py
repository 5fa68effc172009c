"""This module is the Results section of a report, read by the form of its values, for labels are in the user's language.

The section is found by its block of trades: a count and two counts with a per cent in brackets, then such counts again,
series with their money, and money with the length of its series. Rows are counted from there, upwards and, in a tester's
HTML, downwards. What cannot be read is a figure with a problem, never an error: the deals do not depend on it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import time, timedelta
from decimal import Decimal
from typing import Final

from attrs import evolve, frozen

from ledger.imports.cells import Cell, Place, Row, as_text, number_or_none, shown
from ledger.imports.statement import Kind, Printed, PrintedResults

#: Cells of the widest row of figures: a spreadsheet's rows are padded.
_WIDEST: Final = 64
#: Characters of the longest cell that can be a figure.
_LONGEST: Final = 80
_BRACKETS: Final = re.compile(r"([^()%]{1,40})(%?) {0,3}\(([^()%]{1,40})(%?)\)")
_DURATION: Final = re.compile(r"(\d{1,9}):([0-5]\d):([0-5]\d)", re.ASCII)
_BUILD: Final = re.compile(r"\(build (\d{1,9})\)$", re.IGNORECASE)
#: Characters at the end of a cell in which its bracket closes: there may be blanks behind it.
_TAIL: Final = 4
#: Rows of the block of trades that have to be recognised before it is one.
_FEWEST_ANCHORS: Final = 2


@frozen
class _Slot:
    """Where one cell of figures is: the figure before the brackets, and the one in them."""

    name: str
    inner: str | None = None
    #: Whether a file may leave the cell empty.
    is_optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,) if self.inner is None else (self.name, self.inner)


def _row(*slots: str) -> tuple[_Slot, ...]:
    """Make a row of slots of their names, as in ``short_trades (short_trades_won_percent)``."""
    made = []
    for text in slots:
        name, _, inner = text.removesuffix("?").removesuffix(")").partition(" (")
        made.append(_Slot(name, inner or None, is_optional=text.endswith("?")))
    return tuple(made)


_Rows = tuple[tuple[_Slot, ...], ...]

_TRADES: Final[_Rows] = (
    _row("total_trades", "short_trades (short_trades_won_percent)", "long_trades (long_trades_won_percent)"),
    _row("profit_trades (profit_trades_percent)", "loss_trades (loss_trades_percent)"),
    _row("largest_profit_trade", "largest_loss_trade"),
    _row("average_profit_trade", "average_loss_trade"),
    _row(
        "maximum_consecutive_wins (maximum_consecutive_wins_money)",
        "maximum_consecutive_losses (maximum_consecutive_losses_money)",
    ),
    _row(
        "maximal_consecutive_profit (maximal_consecutive_profit_count)",
        "maximal_consecutive_loss (maximal_consecutive_loss_count)",
    ),
    _row("average_consecutive_wins", "average_consecutive_losses"),
)
_TESTER_TRADES: Final[_Rows] = (_TRADES[0], (*_row("total_deals"), *_TRADES[1]), *_TRADES[2:])
_TERMINAL_ABOVE: Final[_Rows] = (
    _row("total_net_profit", "gross_profit", "gross_loss"),
    _row("profit_factor", "expected_payoff"),
    _row("recovery_factor", "sharpe_ratio"),
    _row(
        "balance_drawdown_absolute",
        "balance_drawdown_maximal (balance_drawdown_maximal_percent)",
        "balance_drawdown_relative_percent (balance_drawdown_relative)",
    ),
)
_TESTER_ABOVE: Final[_Rows] = (
    _row("bars", "ticks", "symbols"),
    _row("total_net_profit", "balance_drawdown_absolute", "equity_drawdown_absolute"),
    _row(
        "gross_profit",
        "balance_drawdown_maximal (balance_drawdown_maximal_percent)",
        "equity_drawdown_maximal (equity_drawdown_maximal_percent)",
    ),
    _row(
        "gross_loss",
        "balance_drawdown_relative_percent (balance_drawdown_relative)",
        "equity_drawdown_relative_percent (equity_drawdown_relative)",
    ),
    _row("profit_factor", "expected_payoff", "margin_level_percent?"),
    _row("recovery_factor", "sharpe_ratio", "z_score (z_score_percent)"),
    _row("ahpr (ahpr_percent)", "lr_correlation", "on_tester_result"),
    _row("ghpr (ghpr_percent)", "lr_standard_error"),
)
#: Above the block of trades in workbooks, below it in HTML.
_TESTER_BESIDE: Final[_Rows] = (
    _row("correlation_profits_mfe", "correlation_profits_mae", "correlation_mfe_mae"),
    _row("position_holding_time_minimal", "position_holding_time_maximal", "position_holding_time_average"),
)

_DURATIONS: Final = frozenset(name for slot in _TESTER_BESIDE[1] for name in slot.names)
#: Figures that a file shows with equally many decimals.
_SAME_DECIMALS: Final = (
    (
        "total_net_profit", "gross_profit", "gross_loss", "balance_drawdown_absolute", "largest_profit_trade",
        "largest_loss_trade",
    ),
    ("profit_factor", "expected_payoff", "recovery_factor", "sharpe_ratio"),
    ("average_profit_trade", "average_loss_trade"),
    (
        "balance_drawdown_maximal", "balance_drawdown_relative", "maximum_consecutive_wins_money",
        "maximum_consecutive_losses_money", "maximal_consecutive_profit", "maximal_consecutive_loss",
    ),
    ("balance_drawdown_maximal_percent", "balance_drawdown_relative_percent"),
    ("short_trades_won_percent", "long_trades_won_percent", "profit_trades_percent", "loss_trades_percent"),
    ("ahpr", "ghpr"),
    ("ahpr_percent", "ghpr_percent"),
)  # fmt: skip


#: Where a workbook has numbers, which leave out zeros at their end, these have equally many.
_SAME_DECIMALS_OF_NUMBERS: Final = (
    _SAME_DECIMALS[0],
    (
        "profit_factor", "expected_payoff", "recovery_factor", "sharpe_ratio", "average_profit_trade", "average_loss_trade",
        "lr_correlation", "lr_standard_error",
    ),
)  # fmt: skip


def _names(rows: _Rows) -> tuple[str, ...]:
    return tuple(name for row in rows for slot in row for name in slot.names)


#: The figures of each kind of report, in its order.
TERMINAL_FIGURES: Final = _names((*_TERMINAL_ABOVE, *_TRADES))
TESTER_FIGURES: Final = _names((*_TESTER_ABOVE, *_TESTER_TRADES, *_TESTER_BESIDE))


# ------------------------------------------------------------------------------------------------------------- one cell


@frozen
class _Number:
    value: Decimal
    decimals: int
    is_percent: bool = False
    is_duration: bool = False
    #: Whether the cell is a number, not a text.
    is_stored: bool = False


#: One cell: the number in it, that in brackets, or the cell where it is neither.
_Value = tuple[_Number, _Number | None]


def _value(cell: Cell) -> _Value | None:
    """Read one cell of figures; None where it has no such form."""
    if isinstance(cell, (time, timedelta)):
        seconds = cell.total_seconds() if isinstance(cell, timedelta) else cell.hour * 3600 + cell.minute * 60 + cell.second
        return _Number(Decimal(int(seconds)), 0, is_duration=True), None
    text = as_text(cell)
    if not text or len(text) > _LONGEST:
        return None
    duration = _DURATION.fullmatch(text)
    if duration:
        hours, minutes, seconds = map(int, duration.groups())
        return _Number(Decimal(hours * 3600 + minutes * 60 + seconds), 0, is_duration=True), None
    both = _BRACKETS.fullmatch(text)
    if both is None:
        number = _number(text.removesuffix("%") if isinstance(cell, str) else cell, is_percent=text.endswith("%"))
        return None if number is None else (number, None)
    outer, inner = _number(both[1], is_percent=bool(both[2])), _number(both[3], is_percent=bool(both[4]))
    return None if outer is None or inner is None else (outer, inner)


def _number(cell: Cell, *, is_percent: bool) -> _Number | None:
    value = number_or_none(cell)
    if value is None:
        return None
    is_stored = not isinstance(cell, str)
    exponent = (value.normalize() if is_stored else value).as_tuple().exponent
    decimals = max(0, -exponent) if isinstance(exponent, int) else 0
    return _Number(value, decimals, is_percent=is_percent, is_stored=is_stored)


def _is_label(cell: Cell) -> bool:
    return isinstance(cell, str) and any(map(str.isalpha, cell[:_LONGEST]))


# ------------------------------------------------------------------------------------------------------------- one row


@frozen
class _Line:
    """A row with labels and what is beside them; None where a label has nothing beside it."""

    row: int
    cells: tuple[Cell, ...]
    values: tuple[_Value | None, ...]

    def is_like(self, slots: Sequence[_Slot]) -> bool:
        """Whether the last cells have the form of a row."""
        return len(self.values) >= len(slots) and not any(
            isinstance(_fill(slot, value), str)
            for slot, value in zip(slots, self.values[len(self.values) - len(slots) :], strict=True)
        )


def _filled(row: Row) -> list[Cell]:
    return [cell for cell in row.cells if cell is not None and cell != "" and as_text(cell)]


def _is_line(row: Row) -> bool:
    """Whether a row has labels and something beside them: it is no heading, and no row of a table."""
    if len(row.cells) > _WIDEST:
        return False
    filled = _filled(row)
    return len(filled) >= 2 and any(map(_is_label, filled))


def _line(row: Row) -> _Line:
    filled = _filled(row)
    beside = filled[1::2] if len(filled) % 2 == 0 and all(map(_is_label, filled[::2])) else list(_beside(filled))
    return _Line(row.number, tuple(beside), tuple(None if cell is None else _value(cell) for cell in beside))


def _beside(filled: Iterable[Cell]) -> Iterator[Cell]:
    """Yield what is beside each label, None where the next cell is a label again."""
    pending = False
    for cell in filled:
        is_label = _is_label(cell)
        if not is_label or pending:
            yield None if is_label else cell
        pending = is_label
    if pending:
        yield None


def _fill(slot: _Slot, value: _Value | None) -> tuple[_Number, ...] | str:
    """Return the numbers of a slot, or what was expected in it."""
    expected = " with another in brackets" if slot.inner else ""
    if value is None:
        return f"a number{expected}"
    numbers = value[:1] if value[1] is None else (value[0], value[1])
    if len(numbers) != len(slot.names):
        return f"a number{expected or ' without brackets'}"
    for name, number in zip(slot.names, numbers, strict=True):
        if number.is_duration is not (name in _DURATIONS):
            return "a time h:mm:ss" if name in _DURATIONS else "a number"
        if number.is_percent is not name.endswith("_percent") and not _may_lack_percent(name, number):
            return "a per cent" if name.endswith("_percent") else "a number without %"
    return numbers


def _may_lack_percent(name: str, number: _Number) -> bool:
    """Whether it is the margin level, which workbooks have as a plain fraction."""
    return name == "margin_level_percent" and not number.is_percent


# --------------------------------------------------------------------------------------------------------- the section


def read_results(rows: Sequence[tuple[Place, Row]], kind: Kind) -> PrintedResults | None:
    """Read the Results section from the rows that are in no table, in file order; None where there is none."""
    lines = [row for _, row in rows if _is_line(row)]
    is_tester = kind == "tester"
    names = TESTER_FIGURES if is_tester else TERMINAL_FIGURES
    build = _build(rows) if is_tester else None
    begins = _block_begins(lines)
    if not begins:
        return None
    if len(begins) > 1:
        where = " and ".join(f"row {lines[max(0, begin)].number}" for begin in begins[:2])
        problem = f"the file has more than one Results section, at {where}"
        return PrintedResults(figures={name: Printed(row=None, problem=problem) for name in names}, build=build)
    found = dict(_read(_LinesAt(lines, begins[0]), is_tester=is_tester))
    figures = {name: found[name] for name in names if name in found}
    return PrintedResults(figures=_with_same_decimals(figures), build=build)


def _block_begins(lines: Sequence[Row]) -> list[int]:
    """Return where blocks of trades begin: lines that as many anchors as any agree on."""
    votes: Counter[int] = Counter()
    anchors = [(index, _TRADES[index]) for index in (0, 1, 4, 5)]
    for number, row in enumerate(lines):
        if not any(isinstance(cell, str) and ")" in cell[-_TAIL:] for cell in row.cells):
            continue
        line = _line(row)
        for index, slots in anchors:
            if line.is_like(slots):
                votes[number - index] += 1
    most = max(votes.values(), default=0)
    return sorted(begin for begin, count in votes.items() if count == most) if most >= _FEWEST_ANCHORS else []


@frozen
class _LinesAt:
    """Lines, counted from the first one of the block of trades."""

    lines: Sequence[Row]
    begin: int

    def __getitem__(self, index: int) -> _Line | None:
        at = self.begin + index
        return _line(self.lines[at]) if 0 <= at < len(self.lines) else None


def _read(lines: _LinesAt, *, is_tester: bool) -> Iterator[tuple[str, Printed]]:
    above, block = (_TESTER_ABOVE, _TESTER_TRADES) if is_tester else (_TERMINAL_ABOVE, _TRADES)
    begin = -len(above)
    if is_tester:
        nearest = lines[-1]
        is_workbook = nearest is not None and any(value and value[0].is_duration for value in nearest.values)
        begin -= len(_TESTER_BESIDE) if is_workbook else 0
        yield from _read_rows(lines, -len(_TESTER_BESIDE) if is_workbook else len(block), _TESTER_BESIDE)
    yield from _read_rows(lines, begin, above)
    yield from _read_rows(lines, 0, block)


def _read_rows(lines: _LinesAt, begin: int, rows: _Rows) -> Iterator[tuple[str, Printed]]:
    for index, slots in enumerate(rows, start=begin):
        line = lines[index]
        if line is None:
            continue
        if len(line.values) != len(slots):
            problem = f"expected a row of {len(slots)} figures, found {len(line.values)}"
            yield from ((name, Printed(row=line.row, problem=problem)) for slot in slots for name in slot.names)
            continue
        for slot, cell, value in zip(slots, line.cells, line.values, strict=True):
            if not (slot.is_optional and cell is None):
                yield from _printed(slot, line.row, cell, value)


def _printed(slot: _Slot, row: int, cell: Cell, value: _Value | None) -> Iterator[tuple[str, Printed]]:
    numbers = _fill(slot, value)
    for index, name in enumerate(slot.names):
        if isinstance(numbers, str):
            yield name, Printed(row=row, problem=f"expected {numbers}, found {shown(cell)}")
        else:
            number = numbers[index]
            yield name, Printed(row=row, value=number.value, decimals=number.decimals, is_stored=number.is_stored)


def _with_same_decimals(figures: Mapping[str, Printed]) -> dict[str, Printed]:
    """Give figures that are shown alike the same decimals."""
    most: dict[tuple[str, bool], int] = {}
    for groups, is_stored in ((_SAME_DECIMALS, False), (_SAME_DECIMALS_OF_NUMBERS, True)):
        for group in groups:
            alike = [figures[name] for name in group if name in figures and figures[name].is_stored is is_stored]
            decimals = max((printed.decimals for printed in alike), default=0)
            most |= dict.fromkeys(((name, is_stored) for name in group), decimals)
    return {
        name: evolve(printed, decimals=most.get((name, printed.is_stored), printed.decimals))
        for name, printed in figures.items()
    }


def _build(rows: Sequence[tuple[Place, Row]]) -> int | None:
    """Return the build that a tester names at its beginning, behind its server."""
    for _, row in rows[:10]:
        for cell in row.cells[:_WIDEST]:
            found = _BUILD.search(as_text(cell)) if isinstance(cell, str) and len(cell) <= 512 else None
            if found:
                return int(found[1])
    return None
