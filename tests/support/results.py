"""This module is reports with a Results section of which tests change single figures: of terminals, and of testers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from html import escape

import pytest

from tests.support.tester import Backtest
from tools.samples import render
from tools.samples.history import History
from tools.samples.results import Cell, Rows, Trade, in_html, tester_section

__all__ = ["Write", "backtest_csv", "backtest_html", "changed", "parts_of", "rows_of", "terminal"]

#: What writes a cell, given how it is written honestly.
Write = Callable[[Cell, str | Decimal], str | Decimal]
_EQUITY_DRAWDOWN = Decimal("321.09")


def parts_of(rows: Rows) -> Iterator[tuple[int, int, int]]:
    """Yield row, column and part of every figure; part 1 is the one in brackets."""
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            yield from ((number, column, part) for part in range(len(cell.form)))


def changed(rows: Rows, at: tuple[int, int, int], by: int, *, digits: int = 2, is_workbook: bool = False) -> Rows:
    """Change one figure by so many units of the last decimal that is printed."""
    number, column, part = at
    cell = rows[number][column]
    decimals = {"m": digits, "a": digits, "d": digits, "n": 0, "g": 4, "t": 0}.get(cell.form[part], 2)
    if is_workbook and cell.form in ("r", "a"):
        decimals = 6
    step = Fraction(by, 10**decimals)
    new = replace(cell, value=cell.value + step) if part == 0 else replace(cell, inner=(cell.inner or 0) + step)
    return [
        [new if (index, place) == (number, column) else old for place, old in enumerate(row)] for index, row in enumerate(rows)
    ]


def rows_of(history: History) -> Rows:
    """Return the rows of a terminal's section."""
    above, below = render._section(history)
    return above + below


def terminal(
    history: History, kind: str, language: str = "en", *, rows: Rows | None = None, write: Write | None = None
) -> bytes:  # fmt: skip
    """Write a terminal's report with other rows in its section, or with cells that are written otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        if rows is not None:
            patch.setattr(render, "_section", lambda _: (rows[:3], rows[3:]))
        if write is not None:
            for name in ("in_html", "in_workbook"):
                honest = getattr(render, name)
                patch.setattr(render, name, lambda cell, digits, honest=honest: write(cell, honest(cell, digits)))
        return render.render_html(history, language) if kind == "html" else render.render_xlsx(history, language)


def backtest_rows(backtest: Backtest) -> tuple[Rows, Rows, Rows]:
    """Return the rows of a tester's section: above the block of trades, that block, correlations and holding times."""
    deals = [row for row in backtest.rows if row.symbol is not None]
    trades = [
        Trade(row.time, row.type, row.entry, row.swap + row.profit, row.position_id, Decimal(row.volume)) for row in deals
    ]
    start = deals[0].balance - trades[0].net if deals else backtest.rows[-1].balance
    return tester_section(trades, start, _EQUITY_DRAWDOWN)


def _written(rows: Rows, write: Write | None) -> list[list[str]]:
    return [
        [text for cell in row for text in (f"{cell.label}:", str(write(cell, in_html(cell, 2)) if write else in_html(cell, 2)))]
        for row in rows
    ]


def backtest_html(backtest: Backtest, *, build: int | None = 2190, rows: Rows | None = None, write: Write | None = None) -> str:
    """Write a tester's report as HTML: correlations and holding times below the block of trades."""
    above, block, beside = backtest_rows(backtest)
    lines = [*above, *block, *beside] if rows is None else rows
    table = [["Sample-Demo" + (f" (Build {build})" if build else "")], ["Currency:", "USD"], *_written(lines, write)]
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in table)
    return backtest.html().replace("<tr><td>Currency:</td><td>USD</td></tr>\n", body)


def backtest_csv(backtest: Backtest, *, build: int = 2190) -> str:
    """Write a tester's workbook as a spreadsheet program saves it: correlations and holding times above the block."""
    above, block, beside = backtest_rows(backtest)
    lines = []
    for cells in _written([*above, *beside, *block], None):
        padded = [""] * 4 if len(cells) == 4 else []
        for label, value in zip(cells[::2], cells[1::2], strict=True):
            padded += [label, "", "", value]
        lines.append(",".join([*padded, *[""] * 13][:13]))
    title, *rest = backtest.csv().split("\n")
    return "\n".join([title, f"Sample-Demo (Build {build})" + "," * 12, *rest[:1], *lines, *rest[1:]])
