"""The words of a report: its figures as people read them, rounded, the same on a terminal and on paper.

``?`` marks what is not known, or rests on something that is not known in full; ``-`` is what there is none of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, NamedTuple

from ledger.clock import utc_text
from ledger.performance.values import Drawdown, Fall, Money, Trades
from ledger.reports.values import AccountReport, Bucket, Question
from ledger.results import Results

NONE: Final = "-"
_WIDE: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_MISSING: Final = {"equity": "drawdown on equity", "results": "MT5's figures"}
_OF_DEALS: Final = ("profit", "commission", "swap", "fee", "net")
_NAMELESS: Final = {"symbol": "no symbol", "magic": "no magic", "side": "no side"}


class Line(NamedTuple):
    """One figure with its name; ``detail`` goes behind it."""

    name: str
    value: str
    detail: str = ""


def number(value: Decimal | int | None, digits: int, *, comma: bool = False, mark: str = "") -> str:
    """Write a figure with so many decimals, thousands apart where ``comma`` asks for it."""
    if value is None:
        return NONE
    rounded = _WIDE.quantize(Decimal(value), Decimal(1).scaleb(-digits))
    text = f"{rounded:,f}" if comma else f"{rounded:f}"
    return (text.removeprefix("-") if not rounded else text) + mark


def percent(share: Decimal | None, *, digits: int = 1) -> str:
    """Write a share of 1 in per cent."""
    return NONE if share is None else number(_WIDE.multiply(share, Decimal(100)), digits) + " %"


def duration(milliseconds: int | None) -> str:
    """Write a duration in its two largest units."""
    if milliseconds is None:
        return NONE
    seconds = milliseconds // 1000
    if not seconds:
        return f"{milliseconds} ms"
    for at, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            rest = seconds % size // _UNITS[at + 1][0] if at + 1 < len(_UNITS) else 0
            return f"{seconds // size}{unit}" + (f" {rest}{_UNITS[at + 1][1]}" if rest else "")
    raise AssertionError("a second is the smallest unit")


def moment(utc_msc: int | None) -> str:
    """Write a UTC moment to the minute."""
    return "the start" if utc_msc is None else utc_text(utc_msc)[:16].replace("T", " ")


def balance_mark(money: Money) -> str:
    """Return the mark of the end balance, and of what rests on balances before it."""
    return "" if money.is_balance_sure else "?"


def bucket_name(question: Question, name: str | None) -> str:
    """Write the name of a line."""
    return _NAMELESS.get(question.by, NONE) if name is None else name


def period(question: Question) -> str:
    """Write the period, the clock of the days, the filter and what was known."""
    clock = {"server": "server", "utc": "UTC"}.get(question.day, question.day)
    parts = (
        [f"by {question.by} ({clock} days)"] if question.by in ("day", "week", "month", "weekday") else [f"by {question.by}"]
    )
    parts += [f"{name} {value}" for name, value in (("since", question.since), ("until", question.until)) if value]
    if question.known_at:
        parts.append(f"known at {question.known_at}")
    parts += [f"only {' '.join(question.symbols)}"] if question.symbols else []
    parts += [f"only magic {' '.join(map(str, question.magics))}"] if question.magics else []
    return ", ".join(parts)


# ------------------------------------------------------------------------------------------------------------ the tables


class Column(NamedTuple):
    """A column of a table: its name, a cell for each line, one for the sum; ``is_needed`` where something is in it."""

    name: str
    cells: list[str]
    total: str
    is_needed: bool = True


def _money_mark(field: str, money: Money) -> str:
    """Return the mark of an amount: of a sum over deals whose money is not known, and of a balance behind one."""
    if field in ("start", "end"):
        is_sure = money.is_balance_sure if field == "end" else not money.incomplete_before
        return "" if is_sure else "?"
    return "?" if money.incomplete and field in _OF_DEALS else ""


def money_columns(buckets: tuple[Bucket, ...], whole: Money, digits: int, *, comma: bool = False) -> list[Column]:
    """Return the columns of the money table. Those that are 0 all through are not needed, but for net."""

    def column(title: str, field: str, *, is_needed: bool = False) -> Column:
        amounts = [getattr(one.money, field) for one in buckets]
        total = getattr(whole, field)

        def write(amount: Decimal | None, money: Money) -> str:
            return number(amount, digits, comma=comma, mark=_money_mark(field, money))

        cells = [write(amount, one.money) for amount, one in zip(amounts, buckets, strict=True)]
        known = [one for one in (*amounts, total) if one is not None]
        return Column(title, cells, write(total, whole), bool(known) and (is_needed or any(known)))

    columns = [
        column("profit", "profit", is_needed=True),
        column("commission", "commission"),
        column("swap", "swap"),
        column("fee", "fee"),
        column("net", "net", is_needed=True),
        column("flows", "flows"),
        column("other", "other"),
        column("adjusted", "adjusted"),
    ]
    if any(one.money.end is not None for one in buckets):
        columns.append(column("balance", "end", is_needed=True))
    return columns


def trade_columns(buckets: tuple[Bucket, ...], whole: Trades, digits: int, *, comma: bool = False) -> list[Column]:
    """Return the columns of the trades table."""

    def cells_of(trades: Trades) -> list[str]:
        mark = "?" if trades.incomplete else ""

        def count(several: int) -> str:
            return number(several, 0, comma=comma)

        def write(value: Decimal | None, decimals: int = digits) -> str:
            return number(value, decimals, comma=comma, mark=mark if value is not None else "")

        return [
            count(trades.count) + mark, count(trades.wins), count(trades.losses),
            number(_percent(trades.win_rate), 1), write(trades.profit_factor, 2), write(trades.expectancy, max(digits, 2)),
            write(trades.average_win), write(trades.average_loss), write(trades.net),
        ]  # fmt: skip

    names = ("trades", "won", "lost", "win %", "factor", "expect", "avg win", "avg loss", "net")
    rows = [cells_of(one.trades) for one in buckets]
    return [
        Column(name, [row[at] for row in rows], total)
        for at, (name, total) in enumerate(zip(names, cells_of(whole), strict=True))
    ]


def _percent(share: Decimal | None) -> Decimal | None:
    return None if share is None else _WIDE.multiply(share, Decimal(100))


def equation(money: Money, digits: int, *, comma: bool = False) -> list[tuple[str, str]]:
    """Return the sum that makes the end balance: name and amount of each part. Empty with a filter."""
    if money.start is None or money.end is None:
        return []
    parts = [("start", money.start), ("flows", money.flows), ("net", money.net), ("other", money.other)]
    parts += [("adjusted", money.adjusted), ("end", money.end)]
    return [(name, number(amount, digits, comma=comma, mark=_money_mark(name, money))) for name, amount in parts]


# ----------------------------------------------------------------------------------------------------------- the figures


def _marked(lines: Iterable[Line], mark: str) -> Iterator[Line]:
    return (one._replace(value=one.value + mark) if one.value not in ("", NONE) else one for one in lines)


def figures(report: AccountReport, *, comma: bool = False) -> Iterator[Line]:
    """Yield the figures of an account by position, each with its details."""
    yield from _marked(_of_trades(report, comma=comma), "?" if report.trades.incomplete else "")
    mark, digits = balance_mark(report.money), report.terms.opened.currency_digits
    yield from _marked(_falls("max drawdown", report.drawdown, digits, comma=comma), mark)
    if report.equity is not None:
        yield from _falls("on equity", report.equity, digits, comma=comma)
        yield Line("", f"{report.equity.samples} samples", "what was between them was not seen")
    yield from _marked(_of_days(report), mark)


def _of_trades(report: AccountReport, *, comma: bool) -> Iterator[Line]:
    digits, trades, series = report.terms.opened.currency_digits, report.trades, report.series

    def write(value: Decimal | None) -> str:
        return number(value, digits, comma=comma)

    yield Line("best trade", write(trades.best))
    yield Line("worst trade", write(trades.worst))
    yield Line("most wins in a row", f"{series.wins}", write(series.wins_money))
    yield Line("most losses in a row", f"{series.losses}", write(series.losses_money))
    yield Line("best series", write(series.best_money), f"{series.best_count} wins")
    yield Line("worst series", write(series.worst_money), f"{series.worst_count} losses")
    yield Line(
        "held on average", duration(trades.held_average_ms),
        f"{duration(trades.held_min_ms)} to {duration(trades.held_max_ms)}",
    )  # fmt: skip


def _of_days(report: AccountReport) -> Iterator[Line]:
    ratios = report.ratios
    if ratios is not None:
        why = dict(ratios.why)
        for name, value in (("Sharpe", ratios.sharpe), ("Sortino", ratios.sortino), ("MAR", ratios.mar)):
            yield Line(f"{name} ratio", number(value, 2), why.get(name.lower(), f"{ratios.days} daily returns"))
        yield Line("growth in a year", percent_of(ratios.growth_percent), why.get("growth_percent", ""))


def percent_of(per_cent: Decimal | None, *, digits: int = 2) -> str:
    """Write a figure that is in per cent."""
    return NONE if per_cent is None else f"{number(per_cent, digits)} %"


def _falls(name: str, drawdown: Drawdown, digits: int, *, comma: bool) -> Iterator[Line]:
    absolute, relative = drawdown.absolute, drawdown.relative
    if absolute is None:
        yield Line(name, NONE)
        return
    share = "" if absolute.percent is None else f"{percent_of(absolute.percent)}, "
    yield Line(name, number(absolute.amount, digits, comma=comma), f"{share}{_span(absolute)}")
    if relative is not None:
        amount = number(relative.amount, digits, comma=comma)
        yield Line("  in per cent", percent_of(relative.percent), f"{amount}, {_span(relative)}")


def _span(fall: Fall) -> str:
    return f"{moment(fall.peak_utc_msc)} to {moment(fall.bottom_utc_msc)}"


def mt5_lines(results: Results, money: Money, digits: int, *, comma: bool = False) -> Iterator[Line]:
    """Yield MT5's figures under MT5's names, in MT5's order."""
    return _marked(_mt5_lines(results, digits, comma=comma), balance_mark(money))


def _mt5_lines(results: Results, digits: int, *, comma: bool) -> Iterator[Line]:
    def money(value: Decimal | None) -> str:
        return number(value, digits, comma=comma)

    def share(value: Decimal | None) -> str:
        return NONE if value is None else f"{number(value, 2)}%"

    one = results
    yield Line("Total Net Profit", money(one.total_net_profit))
    yield Line("Gross Profit", money(one.gross_profit))
    yield Line("Gross Loss", money(one.gross_loss))
    yield Line("Profit Factor", number(one.profit_factor, 2))
    yield Line("Expected Payoff", number(one.expected_payoff, 2))
    yield Line("Recovery Factor", number(one.recovery_factor, 2))
    yield Line("Sharpe Ratio", number(one.sharpe_ratio, 2))
    yield Line("Balance Drawdown Absolute", money(one.balance_drawdown_absolute))
    maximal, relative = one.balance_drawdown_maximal_percent, one.balance_drawdown_relative_percent
    yield Line("Balance Drawdown Maximal", f"{money(one.balance_drawdown_maximal)} ({share(maximal)})")
    yield Line("Balance Drawdown Relative", f"{share(relative)} ({money(one.balance_drawdown_relative)})")
    yield Line("Total Trades", str(one.total_trades))
    yield Line("Short Trades (won %)", f"{one.short_trades} ({share(one.short_trades_won_percent)})")
    yield Line("Long Trades (won %)", f"{one.long_trades} ({share(one.long_trades_won_percent)})")
    yield Line("Profit Trades (% of total)", f"{one.profit_trades} ({share(one.profit_trades_percent)})")
    yield Line("Loss Trades (% of total)", f"{one.loss_trades} ({share(one.loss_trades_percent)})")
    yield Line("Largest profit trade", money(one.largest_profit_trade))
    yield Line("Largest loss trade", money(one.largest_loss_trade))
    yield Line("Average profit trade", number(one.average_profit_trade, digits, comma=comma))
    yield Line("Average loss trade", number(one.average_loss_trade, digits, comma=comma))
    wins, losses = one.maximum_consecutive_wins, one.maximum_consecutive_losses
    yield Line("Maximum consecutive wins ($)", f"{wins} ({money(one.maximum_consecutive_wins_money)})")
    yield Line("Maximum consecutive losses ($)", f"{losses} ({money(one.maximum_consecutive_losses_money)})")
    most, worst = one.maximal_consecutive_profit, one.maximal_consecutive_loss
    yield Line("Maximal consecutive profit", f"{money(most)} ({one.maximal_consecutive_profit_count})")
    yield Line("Maximal consecutive loss", f"{money(worst)} ({one.maximal_consecutive_loss_count})")
    yield Line("Average consecutive wins", number(one.average_consecutive_wins, 0))
    yield Line("Average consecutive losses", number(one.average_consecutive_losses, 0))


def missing(report: AccountReport) -> Iterator[str]:
    """Yield what a report has not, and why, a sentence each; once where several things have the same reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in report.unavailable:
        by_reason.setdefault(why, []).append(_MISSING.get(name, name))
    for why, names in by_reason.items():
        yield f"without {', '.join(names)}: {why}"
