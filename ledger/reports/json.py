"""The JSON output of a report: what ``ledger report --json`` prints. Exact numbers are text, times ISO 8601 in UTC with a Z.

What is not known is null; ``unavailable`` and ``why`` have the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from attrs import fields

from ledger.clock import utc_text, utc_text_us
from ledger.json_views import Json, account_json, name_json
from ledger.performance.values import (
    Drawdown,
    Fall,
    Money,
    Ratios,
    Series,
    Trades,
)
from ledger.reports.values import AccountReport, Bucket, CurrencyTotal, Question, Report
from ledger.results import MONEY_FIGURES, Results
from ledger.values import plain

#: Writes an amount with at least the decimals of its currency.
Write = Callable[[Decimal], str]


def report_json(report: Report) -> Json:
    """A report of several accounts."""
    return question_json(report.question) | {
        "accounts": [account_report_json(one) for one in report.accounts],
        "totals": [total_json(one) for one in report.totals],
    }


def question_json(question: Question) -> Json:
    """What a report is about."""
    return {
        "by": question.by,
        "day": question.day,
        "since": question.since,
        "until": question.until,
        "known_at": question.known_at,
        "symbols": list(question.symbols),
        "magics": list(question.magics),
    }


def account_report_json(report: AccountReport) -> Json:
    """The report of one account."""
    write = _writer(report.terms.opened.currency_digits)
    return {
        "account": account_json(report.terms),
        "clock": report.terms.clock.name,
        "version": report.version,
        "head": report.head,
        "recorded_at": utc_text_us(report.recorded_us) if report.version else None,
        "first": _time(report.first_utc_msc),
        "last": _time(report.last_utc_msc),
        "money": money_json(report.money, write),
        "trades": trades_json(report.trades, write),
        "buckets": [bucket_json(one, write) for one in report.buckets],
        "series": series_json(report.series, write),
        "drawdown": {
            "balance": drawdown_json(report.drawdown, write),
            "equity": None
            if report.equity is None
            else drawdown_json(report.equity, write)
            | {
                "samples": report.equity.samples,
                "first": utc_text_us(report.equity.first_us),
                "last": utc_text_us(report.equity.last_us),
            },
        },
        "ratios": None if report.ratios is None else ratios_json(report.ratios),
        "results": None if report.results is None else results_json(report.results, write),
        "incomplete": report.incomplete,
        "reconciles": report.reconciles,
        "unavailable": dict(report.unavailable),
    }


def total_json(total: CurrencyTotal) -> Json:
    """What all accounts of one currency come to."""
    write = _writer(total.digits)
    return {
        "currency": total.currency,
        "accounts": [name_json(one) for one in total.accounts],
        "money": money_json(total.money, write),
        "trades": trades_json(total.trades, write),
        "buckets": [bucket_json(one, write) for one in total.buckets],
        "incomplete": total.money.incomplete + total.trades.incomplete,
    }


def bucket_json(bucket: Bucket, write: Write) -> Json:
    """One line of a report."""
    return {
        "bucket": bucket.name,
        "begin": _time(bucket.begin_utc_msc),
        "end": _time(bucket.end_utc_msc),
        "money": money_json(bucket.money, write),
        "trades": trades_json(bucket.trades, write),
    }


def money_json(money: Money, write: Write) -> Json:
    """Money by deal time. ``start + flows + net + other + adjusted = end``."""
    return {
        "start": _or_none(money.start, write),
        "flows": _or_none(money.flows, write),
        "profit": write(money.profit),
        "commission": write(money.commission),
        "swap": write(money.swap),
        "fee": write(money.fee),
        "net": write(money.net),
        "other": _or_none(money.other, write),
        "adjusted": _or_none(money.adjusted, write),
        "end": _or_none(money.end, write),
        "deals": money.deals,
        "incomplete": money.incomplete,
        "incomplete_before": money.incomplete_before,
    }


def trades_json(trades: Trades, write: Write) -> Json:
    """Trades by the time at which they closed."""
    return {
        "trades": trades.count,
        "wins": trades.wins,
        "losses": trades.losses,
        "incomplete": trades.incomplete,
        "net": write(trades.net),
        "gross_win": write(trades.gross_win),
        "gross_loss": write(trades.gross_loss),
        "win_rate": _or_none(trades.win_rate, plain),
        "profit_factor": _or_none(trades.profit_factor, plain),
        "expectancy": _or_none(trades.expectancy, plain),
        "average_win": _or_none(trades.average_win, plain),
        "average_loss": _or_none(trades.average_loss, plain),
        "best": _or_none(trades.best, write),
        "worst": _or_none(trades.worst, write),
        "held_sec": {
            "trades": trades.held,
            "average": _seconds(trades.held_average_ms),
            "shortest": _seconds(trades.held_min_ms),
            "longest": _seconds(trades.held_max_ms),
        },
    }


def series_json(series: Series, write: Write) -> Json:
    """Unbroken series of wins and losses."""
    return {
        "most_wins": {"trades": series.wins, "net": write(series.wins_money)},
        "most_losses": {"trades": series.losses, "net": write(series.losses_money)},
        "best": {"trades": series.best_count, "net": write(series.best_money)},
        "worst": {"trades": series.worst_count, "net": write(series.worst_money)},
    }


def drawdown_json(drawdown: Drawdown, write: Write) -> Json:
    """The largest falls, null where there was none."""
    return {"absolute": _fall_json(drawdown.absolute, write), "relative": _fall_json(drawdown.relative, write)}


def _fall_json(fall: Fall | None, write: Write) -> Json | None:
    if fall is None:
        return None
    return {
        "amount": write(fall.amount),
        "percent": _or_none(fall.percent, plain),
        "peak": write(fall.peak),
        "peak_at": _time(fall.peak_utc_msc),
        "bottom_at": _time(fall.bottom_utc_msc),
    }


def ratios_json(ratios: Ratios) -> Json:
    """Sharpe, Sortino and MAR of daily returns."""
    return {
        "days": ratios.days,
        "sharpe": _or_none(ratios.sharpe, plain),
        "sortino": _or_none(ratios.sortino, plain),
        "mar": _or_none(ratios.mar, plain),
        "growth_percent": _or_none(ratios.growth_percent, plain),
        "why": dict(ratios.why),
    }


def results_json(results: Results, write: Write) -> Json:
    """The figures that MT5 prints, under MT5's names."""
    found: Json = {}
    for one in fields(Results):
        value = getattr(results, one.name)
        is_amount = one.name in MONEY_FIGURES
        found[one.name] = (write if is_amount else plain)(value) if isinstance(value, Decimal) else value
    return found


def _writer(digits: int) -> Write:
    return lambda amount: plain(amount, decimals=digits)


def _or_none(value: Decimal | None, write: Write) -> str | None:
    return None if value is None else write(value)


def _time(utc_msc: int | None) -> str | None:
    return None if utc_msc is None else utc_text(utc_msc)


def _seconds(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else plain(Decimal(milliseconds) / 1000)
