"""The HTML of a report: one file without scripts and outside resources, for a screen, a phone and paper."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib.metadata import version as version_of
from importlib.resources import files
from pathlib import Path
from typing import Final

from ledger.clock import utc_text_us
from ledger.performance.values import Curve, Fall, Money, Trades
from ledger.reports.svg import (
    Chart,
    area,
    bars,
    base_line,
    chart_html,
    line,
    name_ticks,
    step_path,
    text,
    time_ticks,
    value_scale,
)
from ledger.reports.values import AccountReport, Bucket, CurrencyTotal, Question, Report
from ledger.reports.words import (
    NONE,
    Column,
    Line,
    balance_mark,
    bucket_name,
    equation,
    figures,
    missing,
    moment,
    money_columns,
    mt5_lines,
    number,
    percent,
    percent_of,
    period,
    trade_columns,
)

_MARK: Final = "<!-- made by ledger report -->"
_BEGIN: Final = f'<!doctype html>\n{_MARK}\n<html lang="en">'
_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'"
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_SPACE: Final = re.compile(r"\s+")
_NOTES: Final = (
    "Money is counted when a deal was booked: profit, commission, swap and fee are sums over trade deals, flows are "
    "deposits, withdrawals and bonuses, other is all else that the broker booked.",
    "Trades are counted when they closed, with the net of their whole life: a trade that was opened in one month and closed "
    "in the next is of the next, while its opening commission is money of the first.",
    "A win is a trade with a net above 0, a loss one below 0. Expectancy is net by trades, the factor is the sum of the wins "
    "by the sum of the losses.",
    "A drawdown is a fall below the highest closed balance so far; deposits and withdrawals move both alike.",
    "Sharpe and Sortino rest on daily returns on the closed balance, days without deals from Monday to Friday count as 0, "
    "times the square root of 252. MAR is the growth of a year by the maximal drawdown in per cent.",
    "MT5 counts closing deals instead of positions, so its figures differ from those by position; both are right.",
    "? marks what is not known in full.",
)


def is_report(path: Path) -> bool:
    """Return whether a file is one that we made."""
    with path.open("rb") as file:
        return _MARK.encode() in file.read(200)


def report_html(report: Report, *, command: Sequence[str]) -> str:
    """Return a report as one HTML file.

    Args:
        report: With the balance curves of its accounts.
        command: The command that makes it, word by word.
    """
    named = ", ".join(str(one.account) for one in report.accounts) or "no accounts"
    totals = [one for one in report.totals if len(one.accounts) > 1]
    parts = [
        _BEGIN,
        f'<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_CSP}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">',
        f"<title>Report: {text(named)}</title><style>{_style()}</style></head><body><main>",
        f"<header><h1>Trading report</h1><p>{text(period(report.question))}</p></header>",
        *(_contents(report, totals) if len(report.accounts) > 1 else ()),
        *(_account(one, f"account-{at}") for at, one in enumerate(report.accounts, 1)),
        *(_total(report.question, one, f"total-{at}") for at, one in enumerate(totals, 1)),
        "" if report.accounts else "<p>The journal has no accounts.</p>",
        _footer(report, command),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _contents(report: Report, totals: Sequence[CurrencyTotal]) -> Iterator[str]:
    yield '<nav aria-label="Contents"><ul>'
    for at, one in enumerate(report.accounts, 1):
        digits, currency = one.terms.opened.currency_digits, one.terms.opened.currency
        net = number(one.money.net, digits, comma=True, mark="?" * bool(one.money.incomplete))
        yield f'<li><a href="#account-{at}">{text(one.account)}</a> net {text(net)} {text(currency)}</li>'
    for at, total in enumerate(totals, 1):
        net = number(total.money.net, total.digits, comma=True, mark="?" * bool(total.money.incomplete))
        words = f"all {len(total.accounts)} accounts in {total.currency}"
        yield f'<li><a href="#total-{at}">{text(words)}</a> net {text(net)} {text(total.currency)}</li>'
    yield "</ul></nav>"


def _account(report: AccountReport, key: str) -> str:
    opened, question = report.terms.opened, report.question
    digits, currency = opened.currency_digits, opened.currency
    facts = [
        ("currency", currency),
        ("bookkeeping", opened.mode.value),
        ("server clock", report.terms.clock.name),
        ("first and last deal", f"{moment(report.first_utc_msc)} to {moment(report.last_utc_msc)} UTC"),
        ("rests on", f"version {report.version}"),
        ("chain hash", report.head),
    ]
    if report.first_utc_msc is None:
        del facts[3]
    parts = [
        f'<section id="{key}"><h2>{text(report.account)}</h2><dl class="facts">',
        *(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts),
        "</dl>",
    ]
    if not report.reconciles:
        parts.append(
            f'<p class="error">Start, flows, net, other and adjusted differ from the end balance by '
            f"{text(report.money.difference)}: this is an error.</p>"
        )
    if not report.buckets:
        return "\n".join([*parts, "<p>Nothing was booked and no trade closed in this period.</p></section>"])
    parts += [
        _tiles(report),
        *_charts(report, key),
        _money_table(question, report.buckets, report.money, digits, currency),
        _trade_table(question, report.buckets, report.trades, digits, currency),
        _incomplete(report.money, report.trades),
        '<div class="pair">',
        _figures_table("By position", "each trade over its whole life", figures(report, comma=True)),
    ]
    if report.results is not None:
        lines = mt5_lines(report.results, report.money, digits, comma=True)
        parts.append(_figures_table("As MT5 counts", "by closing deal, under MT5's names", lines))
    parts.append("</div>")
    parts += [f'<p class="note">{text(one[0].upper() + one[1:])}.</p>' for one in missing(report)]
    return "\n".join([*parts, "</section>"])


def _total(question: Question, total: CurrencyTotal, key: str) -> str:
    named = ", ".join(map(str, total.accounts))
    return "\n".join(
        (
            f'<section id="{key}"><h2>All {len(total.accounts)} accounts in {text(total.currency)}</h2>',
            f'<p class="note">{text(named)}. Accounts have no common curve, so there is no drawdown here.</p>',
            _bar_chart(question, total.buckets, total.digits, total.currency, key),
            _money_table(question, total.buckets, total.money, total.digits, total.currency),
            _trade_table(question, total.buckets, total.trades, total.digits, total.currency),
            _incomplete(total.money, total.trades),
            "</section>",
        )
    )


def _tiles(report: AccountReport) -> str:
    digits, currency = report.terms.opened.currency_digits, report.terms.opened.currency
    money, trades, falls = report.money, report.trades, report.drawdown
    unsure, unclear = "?" * bool(money.incomplete), "?" * bool(trades.incomplete)
    unsure_end = balance_mark(money)
    tiles = [("net", number(money.net, digits, comma=True, mark=unsure), currency)]
    if money.end is not None:
        tiles.append(("end balance", number(money.end, digits, comma=True, mark=unsure_end), currency))
    tiles += [
        ("trades", f"{trades.count:,}{unclear}", f"{trades.wins:,} won, {trades.losses:,} lost"),
        ("win rate", percent(trades.win_rate) + unclear, ""),
        ("profit factor", number(trades.profit_factor, 2, mark=unclear if trades.losses else ""), ""),
        (
            "expectancy",
            number(trades.expectancy, max(digits, 2), comma=True, mark=unclear if trades.count else ""),
            "per trade",
        ),
    ]
    if falls.absolute is not None:
        worst = number(falls.absolute.amount, digits, comma=True, mark=unsure_end)
        deepest = f", at most {percent_of(falls.relative.percent)}" if falls.relative is not None else ""
        tiles.append(("max drawdown", worst, f"{currency}{deepest}"))
    cells = (
        f'<div class="tile"><dt>{text(name)}</dt><dd>{text(value)}<small>{text(detail)}</small></dd></div>'
        for name, value, detail in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


# --------------------------------------------------------------------------------------------------------------- charts


def _charts(report: AccountReport, key: str) -> Iterator[str]:
    digits, currency = report.terms.opened.currency_digits, report.terms.opened.currency
    if report.curve is not None and report.curve.columns:
        yield _balance_chart(report, report.curve, digits, currency, key)
        yield _fall_chart(report, report.curve, digits, currency, key)
    yield _bar_chart(report.question, report.buckets, digits, currency, key)


def _axis(curve: Curve) -> tuple[int, int]:
    begin = curve.columns[0].begin_utc_msc
    return begin, max(curve.columns[-1].begin_utc_msc + curve.width_ms, begin + 3_600_000)


def _balance_chart(report: AccountReport, curve: Curve, digits: int, currency: str, key: str) -> str:
    begin, end = _axis(curve)
    money = report.money
    has_start = money.start is not None and money.start != 0  # an account that begins has no balance before
    extremes = [one for column in curve.columns for one in (column.low, column.high)]
    scale = value_scale([*extremes, *([curve.start] if has_start else [])], with_zero=False)
    points = [
        ((one.begin_utc_msc - begin) / (end - begin), [scale.at(value) for value in (one.low, one.high, one.last)])
        for one in curve.columns
    ]
    path = step_path(points, scale.at(curve.start) if has_start else None)

    def write(value: Decimal | None, mark: str = "") -> str:
        return f"{number(value, digits, comma=True, mark=mark)} {currency}"

    mark = balance_mark(money)
    summary = (
        f"The closed balance went from {write(money.start, '?' * bool(money.incomplete_before))} to {write(money.end, mark)}; "
        f"the lowest was {write(min(extremes), mark)}, the highest {write(max(extremes), mark)}. Deposits and withdrawals: "
        f"{write(money.flows)}."
    )
    return chart_html(
        Chart(
            key=f"{key}-balance",
            title="Closed balance",
            summary=summary,
            y_name=f"balance ({currency})",
            x_name="time (UTC)",
            y_ticks=[*scale.ticks(lambda value, decimals: f"{value:,.{decimals}f}")],
            x_ticks=time_ticks(begin, end),
            drawing=line(path, "balance"),
        )
    )


def _fall_chart(report: AccountReport, curve: Curve, digits: int, currency: str, key: str) -> str:
    begin, end = _axis(curve)
    columns = [one for one in curve.columns if one.fall_percent is not None and one.last_percent is not None]
    scale = value_scale([-(one.fall_percent or Decimal(0)) for one in columns], with_zero=True, ticks=4)
    points = [
        (
            (one.begin_utc_msc - begin) / (end - begin),
            [scale.at(-(value or Decimal(0))) for value in (one.fall_percent, one.last_percent)],
        )
        for one in columns
    ]
    path = step_path(points, scale.at(Decimal(0)))
    falls = report.drawdown
    if falls.absolute is None:
        summary = "The closed balance never fell below its highest point."
    else:
        mark = balance_mark(report.money)
        summary = f"The deepest fall was {_fall_words(falls.absolute, digits, currency, mark)}"
        if falls.relative is not None and falls.relative != falls.absolute:
            summary += f"; in per cent it was {_fall_words(falls.relative, digits, currency, mark)}"
        summary += ". Deposits and withdrawals are no rises and falls."
    return chart_html(
        Chart(
            key=f"{key}-drawdown",
            title="Drawdown",
            summary=summary,
            y_name="below the highest balance so far (%)",
            x_name="time (UTC)",
            y_ticks=[*scale.ticks(lambda value, decimals: f"{value:.{decimals}f} %")],
            x_ticks=time_ticks(begin, end),
            drawing=area(path, scale.at(Decimal(0)), "fall") + line(path, "fall") + base_line(scale.at(Decimal(0))),
        )
    )


def _fall_words(fall: Fall, digits: int, currency: str, mark: str) -> str:
    amount = f"{number(fall.amount, digits, comma=True, mark=mark)} {currency} ({percent_of(fall.percent)})"
    return f"{amount}, from {moment(fall.peak_utc_msc)} to {moment(fall.bottom_utc_msc)}"


def _bar_chart(question: Question, buckets: Sequence[Bucket], digits: int, currency: str, key: str) -> str:
    buckets = [one for one in buckets if one.money.deals]
    if not buckets:
        return ""
    names = [bucket_name(question, one.name) for one in buckets]
    nets = [one.money.net for one in buckets]
    values = [
        (name, net, f"{number(net, digits, comma=True, mark='?' * bool(one.money.incomplete))} {currency}")
        for name, net, one in zip(names, nets, buckets, strict=True)
    ]
    scale = value_scale(nets, with_zero=True)
    best, worst = max(values, key=lambda one: one[1]), min(values, key=lambda one: one[1])
    above = sum(one > 0 for one in nets)
    summary = (
        f"Net of the deals by {question.by}: {above} of {len(nets)} were above 0. The best was {best[0]} with {best[2]}, the "
        f"worst {worst[0]} with {worst[2]}."
    )
    return chart_html(
        Chart(
            key=f"{key}-net",
            title=f"Net by {question.by}",
            summary=summary,
            y_name=f"net ({currency})",
            x_name=f"{question.by}, those without a deal left out" if question.by in ("day", "week", "month") else question.by,
            y_ticks=[*scale.ticks(lambda value, decimals: f"{value:,.{decimals}f}")],
            x_ticks=name_ticks(names),
            drawing=bars(values, scale),
        )
    )


# --------------------------------------------------------------------------------------------------------------- tables


def _money_table(question: Question, buckets: Sequence[Bucket], whole: Money, digits: int, currency: str) -> str:
    columns = money_columns(tuple(buckets), whole, digits, comma=True)
    parts = equation(whole, digits, comma=True)
    sum_of = ""
    if parts:
        *terms, (end_name, end) = parts
        shown = " + ".join(f"{text(name)} <b>{text(amount)}</b>" for name, amount in terms)
        sum_of = f'<p class="sum">{shown} = {text(end_name)} <b>{text(end)}</b> {text(currency)}</p>'
    return _table(f"Money by deal time ({currency})", question, buckets, columns) + sum_of


def _trade_table(question: Question, buckets: Sequence[Bucket], whole: Trades, digits: int, currency: str) -> str:
    columns = trade_columns(tuple(buckets), whole, digits, comma=True)
    names = {"expect": "expectancy", "avg win": "average win", "avg loss": "average loss"}
    return _table(
        f"Trades when they closed ({currency})", question, buckets,
        [evolve_name(one, names.get(one.name, one.name)) for one in columns],
    )  # fmt: skip


def evolve_name(column: Column, name: str) -> Column:
    """Return a column by another name."""
    return column._replace(name=name)


def _table(caption: str, question: Question, buckets: Sequence[Bucket], columns: Sequence[Column]) -> str:
    shown = [one for one in columns if one.is_needed]
    head = "".join(f'<th scope="col">{text(one.name)}</th>' for one in shown)
    names = [text(bucket_name(question, one.name)) for one in buckets]
    cells = ["".join(_cell(one.cells[at]) for one in shown) for at in range(len(names))]
    rows = "".join(f'<tr><th scope="row">{name}</th>{row}</tr>\n' for name, row in zip(names, cells, strict=True))
    total = "".join(_cell(one.total) for one in shown)
    return (
        f'<div class="table" role="region" aria-label="{text(caption)}" tabindex="0"><table><caption>{text(caption)}</caption>'
        f'<thead><tr><th scope="col">{text(question.by)}</th>{head}</tr></thead>\n<tbody>{rows}</tbody>'
        f'<tfoot><tr><th scope="row">total</th>{total}</tr></tfoot></table></div>'
    )


def _cell(value: str) -> str:
    return f'<td class="loss">{text(value)}</td>' if value.startswith("-") and value != NONE else f"<td>{text(value)}</td>"


def _figures_table(title: str, detail: str, lines: Iterator[Line]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{text(one.name.strip())}</th>{_cell(one.value)}<td class="detail">{text(one.detail)}</td></tr>\n'
        for one in lines
    )
    return (
        f'<div class="table figures"><table><caption>{text(title)}<small>{text(detail)}</small></caption>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _incomplete(money: Money, trades: Trades) -> str:
    parts = [f"{money.incomplete} deals whose money is not known in full, which counts as 0"] if money.incomplete else []
    before = money.incomplete_before
    parts += [f"{before} deals before the period whose money is not known in full, which counts as 0"] if before else []
    parts += [f"{trades.incomplete} trades whose result is not known, which are left out"] if trades.incomplete else []
    return f'<p class="error">? {text(" and ".join(parts))}.</p>' if parts else ""


def _footer(report: Report, command: Sequence[str]) -> str:
    notes = "".join(f"<li>{text(one)}</li>" for one in _NOTES)
    known = f", known at {utc_text_us(report.known_us)}" if report.known_us else ""
    return (
        f"<footer><h2>How this was counted</h2><ul>{notes}</ul><h2>How to make it again</h2>"
        f"<pre>{text(shlex.join(command))}</pre>"
        f"<p>Made by ledger {text(version_of('mt5-position-ledger'))}{text(known)}. The chain hash of an "
        f"account is that of the last event that its section rests on; <code>ledger verify</code> recomputes it.</p></footer>"
    )


def _style() -> str:
    """Return the style sheet, without what only its readers need."""
    sheet = files("ledger.reports").joinpath("style.css").read_text(encoding="utf-8")
    return _SPACE.sub(" ", _COMMENT.sub("", sheet)).strip()
