"""The Results section of a report, held against what its own deals come to: figure by figure, by MT5's definitions.

Compared are the deals of the file, in the order in which they were booked, whatever else the journal has of the account: a
period that limits a report limits its section as well. A figure differs where ours, rounded to the decimals that the file
shows, is another. What does not follow from the deals, or is not defined the same in all builds, is not checkable, with
the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from enum import Enum
from functools import cached_property
from typing import Final

from attrs import asdict, frozen

from ledger.imports import Attribution, DealRow, Statement
from ledger.imports.results import TERMINAL_FIGURES, TESTER_FIGURES
from ledger.imports.statement import Printed
from ledger.results import HoldingTimes, Results, ResultsCounter
from ledger.values import CREDIT, Entry, decimals_of, plain

#: The newest build whose tester is known to have the Sharpe Ratio of the terminal.
LAST_PLAIN_SHARPE: Final = 2190

_ZERO: Final = Decimal(0)
_EXACT: Final = Context(prec=200, rounding=ROUND_HALF_UP, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
#: Units of the last decimal by which rounding moves a figure at most; halves go either way, and doubles are not exact.
_HALF: Final = Decimal("0.5000001")

#: The English labels of the terminal, as far as MT5 has one for each figure.
LABELS: Final[Mapping[str, str]] = {
    "balance": "Balance",
    "credit_facility": "Credit Facility",
    "total_net_profit": "Total Net Profit",
    "gross_profit": "Gross Profit",
    "gross_loss": "Gross Loss",
    "profit_factor": "Profit Factor",
    "expected_payoff": "Expected Payoff",
    "recovery_factor": "Recovery Factor",
    "sharpe_ratio": "Sharpe Ratio",
    "balance_drawdown_absolute": "Balance Drawdown Absolute",
    "balance_drawdown_maximal": "Balance Drawdown Maximal",
    "balance_drawdown_maximal_percent": "Balance Drawdown Maximal, %",
    "balance_drawdown_relative_percent": "Balance Drawdown Relative, %",
    "balance_drawdown_relative": "Balance Drawdown Relative",
    "total_trades": "Total Trades",
    "total_deals": "Total Deals",
    "short_trades": "Short Trades",
    "short_trades_won_percent": "Short Trades, won %",
    "long_trades": "Long Trades",
    "long_trades_won_percent": "Long Trades, won %",
    "profit_trades": "Profit Trades",
    "profit_trades_percent": "Profit Trades, % of total",
    "loss_trades": "Loss Trades",
    "loss_trades_percent": "Loss Trades, % of total",
    "largest_profit_trade": "Largest profit trade",
    "largest_loss_trade": "Largest loss trade",
    "average_profit_trade": "Average profit trade",
    "average_loss_trade": "Average loss trade",
    "maximum_consecutive_wins": "Maximum consecutive wins",
    "maximum_consecutive_wins_money": "Maximum consecutive wins, money",
    "maximum_consecutive_losses": "Maximum consecutive losses",
    "maximum_consecutive_losses_money": "Maximum consecutive losses, money",
    "maximal_consecutive_profit": "Maximal consecutive profit",
    "maximal_consecutive_profit_count": "Maximal consecutive profit, count",
    "maximal_consecutive_loss": "Maximal consecutive loss",
    "maximal_consecutive_loss_count": "Maximal consecutive loss, count",
    "average_consecutive_wins": "Average consecutive wins",
    "average_consecutive_losses": "Average consecutive losses",
    "ahpr": "AHPR",
    "ahpr_percent": "AHPR, %",
    "ghpr": "GHPR",
    "ghpr_percent": "GHPR, %",
    "z_score": "Z-Score",
    "z_score_percent": "Z-Score, %",
    "lr_correlation": "LR Correlation",
    "lr_standard_error": "LR Standard Error",
    "position_holding_time_minimal": "Minimal position holding time",
    "position_holding_time_maximal": "Maximal position holding time",
    "position_holding_time_average": "Average position holding time",
    "bars": "Bars",
    "ticks": "Ticks",
    "symbols": "Symbols",
    "equity_drawdown_absolute": "Equity Drawdown Absolute",
    "equity_drawdown_maximal": "Equity Drawdown Maximal",
    "equity_drawdown_maximal_percent": "Equity Drawdown Maximal, %",
    "equity_drawdown_relative_percent": "Equity Drawdown Relative, %",
    "equity_drawdown_relative": "Equity Drawdown Relative",
    "margin_level_percent": "Margin Level, %",
    "on_tester_result": "OnTester result",
    "correlation_profits_mfe": "Correlation (Profits,MFE)",
    "correlation_profits_mae": "Correlation (Profits,MAE)",
    "correlation_mfe_mae": "Correlation (MFE,MAE)",
}
_OPENS: Final = (Entry.IN, Entry.IN_OUT)
_HOLDING: Final = ("minimal", "maximal", "average")
#: Figures that no deal shows.
_NOT_OF_DEALS: Final = frozenset(
    (
        "bars", "ticks", "symbols", "equity_drawdown_absolute", "equity_drawdown_maximal", "equity_drawdown_maximal_percent",
        "equity_drawdown_relative_percent", "equity_drawdown_relative", "margin_level_percent", "on_tester_result",
        "correlation_profits_mfe", "correlation_profits_mae", "correlation_mfe_mae",
    )
)  # fmt: skip
#: Figures of nothing that are known to be shown as 0, although their definition divides by 0.
_ZERO_OF_NOTHING: Final = frozenset(
    ("average_profit_trade", "average_loss_trade", "average_consecutive_wins", "average_consecutive_losses")
)


class State(Enum):
    """What became of one figure."""

    AGREED = "agreed"
    DIFFERS = "differs"
    NOT_CHECKABLE = "not checkable"


@frozen(kw_only=True)
class Figure:
    """One figure of the Results section: what the file shows, and what its deals come to, with as many decimals.

    ``reason`` is why it is not checkable. ``row`` counts as the file does.
    """

    name: str
    state: State
    ours: str | None
    theirs: str | None
    row: int | None
    reason: str | None = None

    @property
    def label(self) -> str:
        """MT5's name of the figure, in English."""
        return LABELS[self.name]


@frozen
class _Ours:
    """What a figure should be; without one, or where it differs and may, ``doubt`` is why it cannot be checked."""

    value: Decimal | None
    doubt: str | None = None


def check_results(statement: Statement, attribution: Attribution) -> tuple[Figure, ...] | None:
    """Compare every figure of the Results section, and balance and credit; None for a file without the section.

    Args:
        statement: A file, read.
        attribution: The positions of its deals, for the holding times that testers show.
    """
    printed = statement.results
    if printed is None:
        return None
    own = _Own(statement, attribution)
    names = TESTER_FIGURES if statement.kind == "tester" else ("balance", "credit_facility", *TERMINAL_FIGURES)
    shown = {**printed.figures, **dict(_account_figures(statement))}
    return tuple(
        figure
        for name in names
        if (figure := _figure(name, shown.get(name), own)) is not None
    )  # fmt: skip


def _account_figures(statement: Statement) -> Iterator[tuple[str, Printed]]:
    """Yield balance and credit of the block of account figures, with the decimals of other money."""
    assert statement.results is not None
    money = statement.results.figures.get("total_net_profit")
    for name, value in (("balance", statement.balance), ("credit_facility", statement.credit)):
        if value is not None:
            decimals = max(decimals_of(value), 0 if money is None else money.decimals)
            yield name, Printed(row=None, value=value, decimals=decimals)


def _figure(name: str, printed: Printed | None, own: _Own) -> Figure | None:
    """Compare one figure; None for one that no deal shows and the file does not either."""
    if printed is None:
        if name in _NOT_OF_DEALS:
            return None
        return Figure(
            name=name, state=State.NOT_CHECKABLE, ours=None, theirs=None, row=None, reason="the file does not show it"
        )  # fmt: skip
    if printed.value is None:
        return Figure(
            name=name, state=State.NOT_CHECKABLE, ours=None, theirs=None, row=printed.row, reason=printed.problem
        )  # fmt: skip
    ours = own.figure(name, printed)
    theirs = _text(name, printed.value, printed.decimals)
    if ours.value is None:
        return Figure(
            name=name, state=State.NOT_CHECKABLE, ours=None, theirs=theirs, row=printed.row, reason=ours.doubt
        )  # fmt: skip
    is_equal = abs(_EXACT.subtract(ours.value, printed.value)) <= _HALF.scaleb(-printed.decimals)
    state = State.AGREED if is_equal else State.DIFFERS if ours.doubt is None else State.NOT_CHECKABLE
    return Figure(
        name=name,
        state=state,
        ours=_text(name, ours.value, printed.decimals),
        theirs=theirs,
        row=printed.row,
        reason=ours.doubt if state is State.NOT_CHECKABLE else None,
    )


class _Own:
    """What the deals of a file come to."""

    def __init__(self, statement: Statement, attribution: Attribution) -> None:
        self._statement = statement
        self._deals = statement.as_booked
        self._trades = [deal for deal in self._deals if deal.side is not None]
        self._results = _count(self._trades)
        self._values: dict[str, Decimal | int | None] = asdict(self._results)
        self._positions = {
            deal.deal: position_id for deal, position_id in zip(statement.deals, attribution.position_ids, strict=True)
        }
        self._is_attributed = not attribution.notes
        self._is_tester = statement.kind == "tester"

    def figure(self, name: str, printed: Printed) -> _Ours:
        """Return a figure, or why there is none."""
        if name in _NOT_OF_DEALS:
            return _Ours(None, "not in the deals")
        if name in ("balance", "credit_facility"):
            return self._account_figure(name)
        if name.startswith("position_holding_time_"):
            return self._holding(name.removeprefix("position_holding_time_"))
        if name == "recovery_factor" and self._is_tester:
            return self._tester_recovery()
        if name == "sharpe_ratio" and self._is_tester and not self._has_plain_sharpe():
            return _Ours(None, f"testers of builds after {LAST_PLAIN_SHARPE} define it on equity between the deals")
        value = self._values[name]
        if value is None:
            return self._undefined(name)
        value = Decimal(value)
        return _Ours(value, _doubt_of_correlation(value, printed) if name == "lr_correlation" else None)

    def _undefined(self, name: str) -> _Ours:
        if not self._results.total_trades or name in _ZERO_OF_NOTHING:
            return _Ours(_ZERO)  # a report without trades shows 0 everywhere
        return _Ours(None, "its definition divides by 0 here, and what MT5 shows then is not known")

    def _has_plain_sharpe(self) -> bool:
        results = self._statement.results
        return results is not None and results.build is not None and results.build <= LAST_PLAIN_SHARPE

    def _tester_recovery(self) -> _Ours:
        """A tester divides by its equity drawdown, which only the file itself shows."""
        assert self._statement.results is not None
        drawdown = self._statement.results.figures.get("equity_drawdown_maximal")
        if not self._results.total_trades:
            return _Ours(_ZERO)
        if drawdown is None or not drawdown.value:
            return _Ours(None, "testers divide by the Equity Drawdown Maximal, which the file does not show")
        return _Ours(_EXACT.divide(self._results.total_net_profit, drawdown.value))

    def _account_figure(self, name: str) -> _Ours:
        statement = self._statement
        if not self._deals or self._deals[-1].balance is None:
            return _Ours(None, "the file has no deals to compute it from")
        credit = sum((deal.profit for deal in self._deals if deal.type == CREDIT), _ZERO)
        doubt = None if statement.starts_at_opening else "the file starts mid-history, and credit before it is not known"
        if name == "credit_facility":
            return _Ours(credit, doubt)
        shown = statement.credit if doubt and statement.credit is not None else credit
        return _Ours(_EXACT.subtract(self._deals[-1].balance, shown))

    def _holding(self, which: str) -> _Ours:
        results = self._statement.results
        assert results is not None
        printed = [results.figures.get(f"position_holding_time_{one}") for one in _HOLDING]
        if self._trades and all(one is not None and one.value == 0 for one in printed):
            return _Ours(None, "testers of 2016 show 0 for every holding time")
        times, has_choice = self._times
        seconds = asdict(times.results())[f"{which}_sec"]
        if seconds is None:
            return _Ours(_ZERO)
        doubt = None
        if not self._is_attributed or (which != "average" and has_choice):
            doubt = "the report does not state which position a deal closes"
        return _Ours(Decimal(seconds), doubt)

    @cached_property
    def _times(self) -> tuple[HoldingTimes, bool]:
        """Holding times, and whether a closing deal could as well have closed another position."""
        times = HoldingTimes()
        has_choice = False
        scale = _scale(deal.volume for deal in self._trades)
        held: defaultdict[tuple[str | None, int], set[int]] = defaultdict(set)
        for deal in self._trades:
            position_id = self._positions[deal.deal]
            if position_id is None or deal.volume is None or deal.entry is None or deal.side is None:
                continue
            side = deal.side.code
            if deal.entry != Entry.IN:
                has_choice = has_choice or len(held[deal.symbol, 1 - side]) > 1
                held[deal.symbol, 1 - side].discard(position_id)
            times.add(deal.time_msc, position_id, int(deal.entry), side, _units(deal.volume, scale))
            if times.is_open(position_id):
                held[deal.symbol, side if deal.entry in _OPENS else 1 - side].add(position_id)
        return times, has_choice


def _count(trades: Sequence[DealRow]) -> Results:
    """Compute MT5's figures over trade deals, in whatever decimals their money has."""
    first = trades[0].balance if trades else None
    scale = _scale([first, *(amount for deal in trades for amount in _money(deal))])
    nets = [sum(_units(amount, scale) for amount in _money(deal) if amount is not None) for deal in trades]
    counter = ResultsCounter(None if first is None else _units(first, scale) - nets[0], scale=scale)
    for deal, net in zip(trades, nets, strict=True):
        assert deal.entry is not None
        assert deal.side is not None
        counter.add(net, int(deal.entry), deal.side.code)
    return counter.results()


def _money(deal: DealRow) -> tuple[Decimal | None, ...]:
    return deal.profit, deal.commission, deal.fee, deal.swap


def _scale(numbers: Iterable[Decimal | None]) -> int:
    """Return with how many decimals all numbers are whole."""
    return max(map(decimals_of, set(numbers) - {None}), default=0)  # type: ignore[arg-type]  # most come again and again


def _units(number: Decimal, scale: int) -> int:
    return int(number.scaleb(scale, _EXACT))


def _doubt_of_correlation(ours: Decimal, printed: Printed) -> str | None:
    """Some testers show a correlation that is larger than that of their deals; a smaller one was never seen."""
    theirs = printed.value
    if theirs is None or not abs(ours) <= abs(theirs) <= 1 or ours * theirs < 0:
        return None
    return "some testers show a larger correlation than that of the deals"


def _text(name: str, value: Decimal, decimals: int) -> str:
    """Write a figure as the file shows it."""
    if name.startswith("position_holding_time_"):
        hours, seconds = divmod(int(value), 3600)
        return f"{hours}:{seconds // 60:02}:{seconds % 60:02}"
    return plain(_EXACT.quantize(value, Decimal(1).scaleb(-decimals)), decimals=decimals)
